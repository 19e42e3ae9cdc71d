"""Evaluate the rule of a policy definition for a resource, as Azure does for the conditions that our rules use.

https://learn.microsoft.com/azure/governance/policy/concepts/definition-structure-policy-rule
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

_PARAMETER = re.compile(r"\[parameters\('(\w+)'\)\]")
_TAG_FIELD = re.compile(r"\[concat\('tags\[', parameters\('(\w+)'\), '\]'\)\]")
_GROUP_TAG = re.compile(r"\[resourceGroup\(\)\.tags\[parameters\('(\w+)'\)\]\]")
_TAG = re.compile(r"tags\[(.+)\]")


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """The rule of a definition with the values of its parameters, and the tags of the resource's group."""

    definition: Mapping[str, Any]
    parameters: Mapping[str, Any]
    group_tags: Mapping[str, str] = field(default_factory=dict)

    def effect_on(self, resource: Mapping[str, Any]) -> str | None:
        """Return the effect, or `None` where the rule does not apply."""
        rule = self.definition["policyRule"]
        return str(self._resolved(rule["then"]["effect"])) if self._holds(rule["if"], resource) else None

    def _holds(self, condition: Mapping[str, Any], resource: Mapping[str, Any]) -> bool:
        match condition:
            case {"allOf": parts}:
                return all(self._holds(part, resource) for part in parts)
            case {"anyOf": parts}:
                return any(self._holds(part, resource) for part in parts)
            case {"not": part}:
                return not self._holds(part, resource)
        (operator, expected), *rest = [
            (key, value) for key, value in condition.items() if key not in {"field", "value"}
        ]
        assert not rest, condition
        actual = (
            _field(resource, str(self._resolved(condition["field"])))
            if "field" in condition
            else self._resolved(condition["value"])
        )
        return _compared(operator, actual, self._resolved(expected))

    def _resolved(self, text: Any) -> Any:
        if not isinstance(text, str) or not text.startswith("["):
            return text
        if found := _PARAMETER.fullmatch(text):
            if found[1] in self.parameters:
                return self.parameters[found[1]]
            return self.definition["parameters"][found[1]]["defaultValue"]
        if found := _TAG_FIELD.fullmatch(text):
            return f"tags[{self.parameters[found[1]]}]"
        if found := _GROUP_TAG.fullmatch(text):
            return self.group_tags.get(self.parameters[found[1]], "")
        raise NotImplementedError(text)


def _field(resource: Mapping[str, Any], name: str) -> Any:
    if found := _TAG.fullmatch(name):
        return resource.get("tags", {}).get(found[1])
    if "/" in name:
        resource_type, name = name.rsplit("/", 1)
        if resource_type.lower() != resource["type"].lower():
            return None
        found_in_properties = _at(resource.get("properties", {}), name)
        return _at(resource, name) if found_in_properties is None else found_in_properties
    return _at(resource, name)


def _at(value: Any, path: str) -> Any:
    """Return what stands at a path. An alias does not tell whether it begins in the properties of a resource."""
    for part in path.split("."):
        value = value.get(part) if isinstance(value, Mapping) else None
    return value


def _compared(operator: str, actual: Any, expected: Any) -> bool:
    """Compare as Azure does, which ignores case, and finds a missing field unequal to everything."""
    match operator:
        case "exists":
            return (actual is not None) == (str(expected).lower() == "true")
        case "equals":
            return actual is not None and _folded(actual) == _folded(expected)
        case "notEquals":
            return actual is None or _folded(actual) != _folded(expected)
        case "in":
            return _folded(actual) in [_folded(item) for item in expected]
        case "notIn":
            return _folded(actual) not in [_folded(item) for item in expected]
        case _:
            raise NotImplementedError(operator)


def _folded(value: Any) -> str:
    return str(value).lower()
