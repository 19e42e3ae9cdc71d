"""Exported amounts add up to those that the ledger has booked, and to the answers of the backends."""

from __future__ import annotations

from collections import Counter

import pytest

from shared.domain.telemetry.instruments import INSTRUMENTS
from tests.tools.stack import Stack
from tests.tools.traces import Kept


def total(kept: Kept, name: str, **dimensions: str) -> float:
    """Return the sum of an instrument over the series with these values."""
    (names,) = [each.dimensions for each in INSTRUMENTS if each.name == name]
    return sum(
        amount
        for values, amount in kept.sums[name].items()
        if dimensions.items() <= dict(zip(names, values, strict=True)).items()
    )


async def test_sums_equal_the_ledger_and_the_backends(stack: Stack, kept: Kept) -> None:
    await stack.pool("swedencentral", "germanywestcentral")
    answered = Counter[int]()
    faults = (
        {"kind": "status", "status": 500},
        {"kind": "break"},
        {"kind": "malformed"},
        {"kind": "status", "status": 400},
    )
    for stream in (False, True):
        for fault in (None, *faults):
            if fault is not None:
                await stack.fault(**fault)
            status, _, _ = await stack.chat(stream=stream)
            answered[status] += 1
    body = {"model": "gpt-4o", "messages": [{"role": "user", "content": "Hi"}], "max_tokens": 500, "stream": True}
    url, headers = f"{stack.url}/openai/v1/chat/completions", {"api-key": stack.key}
    async with stack.session.post(url, json=body, headers=headers) as response:
        await response.content.readany()
        response.close()  # the caller leaves in the middle of its answer
        answered[response.status] += 1
    await stack.settled()
    kept.fold()
    entries = await stack.entries()
    used = {name: sum(each["usage"].get(name, 0) for each in entries) for name in ("input", "cached_input", "output")}
    assert {name: total(kept, "gateway.tokens", type=name) for name in used} == used
    assert total(kept, "gateway.cost_usd") == pytest.approx(sum(float(each["cost_usd"]) for each in entries))
    assert total(kept, "gateway.upstream.responses") == len(await stack.requests())
    for status, number in answered.items():
        assert total(kept, "gateway.requests", status=str(status)) == number
    durations = kept.distributions["gen_ai.client.operation.duration"].values()
    assert sum(sum(each.counts) for each in durations) == len(await stack.requests())
    assert all(each.smallest >= 0 for each in durations)
