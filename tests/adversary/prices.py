"""Prices of service tiers and long contexts for gpt-4o of the simulator, whose standard prices are 2.50 and 10.00."""

from __future__ import annotations

from decimal import Decimal
from typing import Any

from tests.tools.stack import Stack

PRIORITY, FLEX = {"input": "5.00", "output": "20.00"}, {"input": "1.25", "output": "5.00"}
STANDARD = {"input": "2.50", "cached_input": "1.25", "output": "10.00"}


async def insert(stack: Stack, usd: dict[str, str], **fields: Any) -> None:
    """Insert a price of gpt-4o for each meter."""
    row = {"model": "gpt-4o", "effective_from": "2024-01-01T00:00:00Z", **fields}
    for meter, price in usd.items():
        await stack.manage("POST", "/manage/prices", {**row, "meter": meter, "usd_per_million": price}, status=201)


def cost(usage: dict[str, Any], usd: dict[str, str]) -> Decimal:
    """Return the dollars that an entry's usage costs at these prices. Cached input costs what input does by default."""
    cached = usd.get("cached_input", usd["input"])
    prices = {"input": usd["input"], "cached_input": cached, "output": usd["output"]}
    exact = sum((Decimal(price) * int(usage[meter]) for meter, price in prices.items()), Decimal())
    return exact / 10**6


def held(entry: dict[str, Any], usd: dict[str, str]) -> Decimal:
    """Return the dollars that the entry's hold of input and 100 tokens of output costs at these prices."""
    output, tokens = 100, int(entry["reserved_tokens"])
    return (Decimal(usd["input"]) * (tokens - output) + Decimal(usd["output"]) * output) / 10**6
