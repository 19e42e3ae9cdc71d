"""Functions of Bicep that depend on their arguments only."""

from __future__ import annotations

import hashlib
import json
import uuid
from collections.abc import Callable, Mapping
from ipaddress import ip_network
from itertools import chain
from typing import Any


def _cidr_subnet(network: str, length: int, index: int) -> str:
    """Raises `ValueError` if the network has no such subnet."""
    found = list(ip_network(network).subnets(new_prefix=length))
    if index >= len(found):
        raise ValueError(f"{network} has no subnet {index} of length {length}")
    return str(found[index])


def _unique(*parts: str) -> str:
    return hashlib.sha256("|".join(parts).encode()).hexdigest()[:13]


def _union(*values: Any) -> Any:
    if isinstance(values[0], Mapping):
        return {key: value for each in values for key, value in each.items()}
    found: list[Any] = []
    found.extend(each for each in chain.from_iterable(values) if each not in found)
    return found


def _to_object(values: list[Any], key: Callable[..., str], value: Callable[..., Any] | None = None) -> dict[str, Any]:
    return {key(each): value(each) if value else each for each in values}


def _subscription_resource_id(*parts: str) -> str:
    *_, kind, name = parts
    return f"/subscriptions/SUBSCRIPTION/providers/{kind}/{name}"


def _fail(message: str) -> None:
    raise ValueError(message)


FUNCTIONS: Mapping[str, Callable[..., Any]] = {
    "any": lambda value: value,
    "bool": lambda value: str(value).lower() == "true",
    "cidrSubnet": _cidr_subnet,
    "coalesce": lambda *values: next((each for each in values if each is not None), None),
    "concat": lambda *values: "".join(values) if isinstance(values[0], str) else list(chain(*values)),
    "contains": lambda where, what: what in where,
    "empty": lambda value: not value,
    "endsWith": lambda text, end: text.lower().endswith(end.lower()),
    "fail": _fail,
    "filter": lambda values, wanted: [each for each in values if wanted(each)],
    "first": lambda values: values[0] if values else None,
    "flatten": lambda values: list(chain(*values)),
    "format": lambda text, *values: text.format(*values),
    "guid": lambda *parts: str(uuid.uuid5(uuid.NAMESPACE_URL, "|".join(parts))),
    "int": int,
    "items": lambda values: [{"key": key, "value": values[key]} for key in sorted(values)],
    "join": lambda values, separator: separator.join(values),
    "json": json.loads,
    "last": lambda values: values[-1] if values else None,
    "length": len,
    "map": lambda values, change: [change(each) for each in values],
    "max": max,
    "min": min,
    "objectKeys": sorted,
    "range": lambda start, count: list(range(start, start + count)),
    "replace": lambda text, old, new: text.replace(old, new),
    "skip": lambda values, count: values[count:],
    "split": lambda text, separator: text.split(separator),
    "startsWith": lambda text, begin: text.lower().startswith(begin.lower()),
    "string": lambda value: value if isinstance(value, str) else json.dumps(value),
    "subscriptionResourceId": _subscription_resource_id,
    "take": lambda values, count: values[:count],
    "tenantResourceId": lambda kind, name: f"/providers/{kind}/{name}",
    "toLower": str.lower,
    "toObject": _to_object,
    "toUpper": str.upper,
    "trim": str.strip,
    "union": _union,
    "uniqueString": _unique,
}
