"""Evaluates Bicep: the resources and outputs that a template makes from parameters, without Azure.

What only Azure knows, such as the address of a new account, is a text that names where it comes from: `RuntimeText`.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

from tree_sitter import Node

from tests.tools.bicep import BicepFile, BicepSources, Declaration, literal, named, properties, text_of, unescaped
from tests.tools.bicep_functions import FUNCTIONS
from tests.tools.bicep_types import TypeProblem, check_type

CLOUDS: Mapping[str, Mapping[str, str]] = {
    "AzureCloud": {"storage": "core.windows.net", "keyvaultDns": ".vault.azure.net"},
    "AzureUSGovernment": {"storage": "core.usgovcloudapi.net", "keyvaultDns": ".vault.usgovcloudapi.net"},
    "AzureChinaCloud": {"storage": "core.chinacloudapi.cn", "keyvaultDns": ".vault.azure.cn"},
}
_SUBSCRIPTION = "/subscriptions/SUBSCRIPTION"
_OPERATORS: Mapping[str, Callable[[Any, Any], Any]] = {
    "==": operator.eq, "!=": operator.ne, "<": operator.lt, "<=": operator.le, ">": operator.gt, ">=": operator.ge,
    "+": operator.add, "-": operator.sub, "*": operator.mul, "/": operator.floordiv, "%": operator.mod,
    "=~": lambda left, right: left.lower() == right.lower(),
}  # fmt: skip


class EvaluationProblem(Exception):
    """The template cannot be deployed with these parameters. The message says where and why."""


class RuntimeText(str):
    """A value that only Azure knows."""

    __slots__ = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployed:
    """A resource that the template makes."""

    type: str
    id: str
    body: Mapping[str, Any]
    path: str
    symbol: str
    scope_id: str
    """The resource that an extension extends, or the resource group, or the subscription."""

    @property
    def name(self) -> str:
        return str(self.body["name"])

    @property
    def properties(self) -> Mapping[str, Any]:
        found: Mapping[str, Any] = self.body.get("properties", {})
        return found


@dataclass(frozen=True, slots=True, kw_only=True)
class Template:
    """The resources and outputs of a template."""

    resources: list[Deployed] = field(default_factory=list)
    outputs: dict[str, Any] = field(default_factory=dict)
    cloud: str

    def of(self, kind: str) -> list[Deployed]:
        """Return the resources of a type."""
        return [each for each in self.resources if each.type == kind]


def evaluated(
    sources: BicepSources, path: str, parameters: Mapping[str, Any], *, cloud: str = "AzureCloud"
) -> Template:
    """Return what a template makes. Raises `EvaluationProblem`."""
    template = Template(cloud=cloud)
    file = sources.file(path)
    scope = _SUBSCRIPTION if file.target_scope == "subscription" else f"{_SUBSCRIPTION}/resourceGroups/GROUP"
    instance = _Instance(sources, file, parameters, scope, template)
    instance.deploy()
    template.outputs.update(instance.outputs())
    return template


class _Instance:
    """One file with its parameters."""

    def __init__(
        self, sources: BicepSources, file: BicepFile, parameters: Mapping[str, Any], scope_id: str, template: Template
    ) -> None:
        self._sources, self._file, self._scope_id, self._template = sources, file, scope_id, template
        self._values: dict[str, Any] = {}
        self._running: set[str] = set()
        self._given = dict(parameters)
        if unknown := self._given.keys() - file.parameters.keys():
            raise EvaluationProblem(f"{file.path} has no parameters {sorted(unknown)}")

    def deploy(self) -> None:
        for name in (*self._file.parameters, *self._file.resources, *self._file.modules):
            self.value_of(name)

    def outputs(self) -> dict[str, Any]:
        return {
            name: self._checked(output, self.evaluate(output.body, {}), f"output {name}")
            for name, output in self._file.outputs.items()
        }

    def value_of(self, name: str) -> Any:
        if name not in self._values:
            if name in self._running:
                raise EvaluationProblem(f"{self._file.path}: {name} needs itself")
            self._running.add(name)
            self._values[name] = self._made(name)
        return self._values[name]

    def _made(self, name: str) -> Any:
        file = self._file
        if name in file.parameters:
            return self._parameter(file.parameters[name])
        if name in file.variables:
            return self.evaluate(file.variables[name].body, {})
        if name in file.functions:
            return self._function(file.functions[name])
        if name in file.resources:
            return self._repeated(file.resources[name], self._resource)
        if name in file.modules:
            return self._repeated(file.modules[name], self._module)
        raise EvaluationProblem(f"{file.path}: {name} does not exist")

    def _parameter(self, declared: Declaration) -> Any:
        name = declared.name
        if name in self._given and self._given[name] is not None:
            value = self._given[name]
        elif declared.body is not None:
            value = self.evaluate(declared.body, {})
        elif text_of(declared.type_node).endswith("?"):
            return None
        else:
            raise EvaluationProblem(f"{self._file.path} needs the parameter {name}")
        return self._checked(declared, value, f"parameter {name}")

    def _checked(self, declared: Declaration, value: Any, what: str) -> Any:
        try:
            check_type(self._sources, self._file, declared, value, what)
        except TypeProblem as problem:
            raise EvaluationProblem(f"{self._file.path}: {problem}") from None
        return value

    def _function(self, declared: Declaration) -> Callable[..., Any]:
        parameters = declared.node.child_by_field_name("parameters") or next(
            child for child in named(declared.node) if child.type == "parameters"
        )
        names = [text_of(named(each)[0]) for each in named(parameters)]
        return lambda *values: self.evaluate(declared.body, dict(zip(names, values, strict=True)))

    def _repeated(self, declared: Declaration, make: Callable[[Declaration, Node, dict[str, Any]], Any]) -> Any:
        """Make a resource or module: once, as often as its loop says, or not at all."""
        body = declared.body
        if body is None:
            raise EvaluationProblem(f"{self._file.path}: {declared.name} has no body")
        if body.type != "for_statement":
            return self._conditional(declared, body, {}, make)
        inner = body.child_by_field_name("body") or body
        return [self._conditional(declared, inner, local, make) for local in self._loop(body, {})]

    def _conditional(
        self,
        declared: Declaration,
        body: Node,
        local: dict[str, Any],
        make: Callable[[Declaration, Node, dict[str, Any]], Any],
    ) -> Any:
        if body.type == "if_statement":
            if not self.evaluate(named(body)[0], local):
                return None
            body = named(body)[-1]
        return make(declared, body, local)

    def _loop(self, node: Node, outer: dict[str, Any]) -> list[dict[str, Any]]:
        single = node.child_by_field_name("initializer")
        if single is not None:
            names = [text_of(single)]
        else:
            parameters = next(child for child in named(node) if child.type == "for_loop_parameters")
            names = [text_of(each) for each in named(parameters)]
        body = node.child_by_field_name("body")
        values = next(
            child
            for child in named(node)
            if child not in (body, single) and child.type not in ("for_loop_parameters", "identifier_list")
        )
        listed = self.evaluate(values, outer)
        if isinstance(listed, str):
            raise EvaluationProblem(f"{self._file.path}:{node.start_point.row + 1}: a loop over {listed!r}")
        return [{**outer, **dict(zip(names, (each, index), strict=False))} for index, each in enumerate(listed)]

    def _resource(self, declared: Declaration, body: Node, local: dict[str, Any]) -> Any:
        kind, _, _ = declared.target.partition("@")
        values = self.evaluate(body, local)
        if "name" not in values:
            raise EvaluationProblem(f"{self._file.path}: {declared.name} has no name")
        scope = values.pop("scope", None)
        parent = values.pop("parent", None)
        scope_id = scope["id"] if scope else self._scope_id
        if parent:
            resource_id = f"{parent['id']}/{kind.rsplit('/', 1)[-1]}/{values['name']}"
        elif kind == "Microsoft.Resources/resourceGroups":
            resource_id = f"{scope_id}/resourceGroups/{values['name']}"
        else:
            resource_id = f"{scope_id}/providers/{kind}/{values['name']}"
        if not declared.is_existing:
            self._template.resources.append(
                Deployed(
                    type=kind, id=resource_id, body=values, path=self._file.path, symbol=declared.name,
                    scope_id=parent["id"] if parent else scope_id,
                )
            )  # fmt: skip
        made = next((each.body for each in self._template.resources if each.id == resource_id), {})
        known = {
            "id": resource_id,
            "name": values["name"],
            "location": made.get("location", RuntimeText(f"{resource_id}:location")),
            "properties": RuntimeText(f"{resource_id}:properties"),
        }
        if values.get("identity", {}).get("type", "None") != "None":
            known["identity"] = RuntimeText(f"{resource_id}:identity")
        return known

    def _module(self, declared: Declaration, body: Node, local: dict[str, Any]) -> Any:
        path = self._file.beside(declared.target)
        if not self._sources.exists(path):
            raise EvaluationProblem(f"{self._file.path}: there is no module {declared.target}")
        values = properties(body)
        scope = self.evaluate(values["scope"], local) if "scope" in values else {"id": self._scope_id}
        parameters = self.evaluate(values["params"], local) if "params" in values else {}
        file = self._sources.file(path)
        is_group = "/resourceGroups/" in scope["id"]
        if is_group is not (file.target_scope == "resourceGroup"):
            raise EvaluationProblem(f"{self._file.path}: {declared.name} has the wrong scope")
        if "dependsOn" in values:
            self.evaluate(values["dependsOn"], local)
        instance = _Instance(self._sources, file, parameters, scope["id"], self._template)
        instance.deploy()
        return {"outputs": instance.outputs(), "name": declared.name}

    # Expressions. `local` has the names of loops and lambdas.

    def evaluate(self, node: Node | None, local: dict[str, Any]) -> Any:
        if node is None:
            raise EvaluationProblem(f"{self._file.path}: an expression is missing")
        method = getattr(self, f"_{node.type}", None)
        if method is None:
            raise EvaluationProblem(f"{self._file.path}:{node.start_point.row + 1}: unknown syntax {node.type}")
        return method(node, local)

    def _identifier(self, node: Node, local: dict[str, Any]) -> Any:
        name = text_of(node)
        return local[name] if name in local else self.value_of(name)

    def _number(self, node: Node, _local: dict[str, Any]) -> int:
        return int(text_of(node))

    def _boolean(self, node: Node, _local: dict[str, Any]) -> bool:
        return text_of(node) == "true"

    def _null(self, _node: Node, _local: dict[str, Any]) -> None:
        return None

    def _string(self, node: Node, local: dict[str, Any]) -> str:
        parts = [
            self.evaluate(named(part)[0], local) if part.type == "interpolation" else unescaped(part)
            for part in named(node)
        ]
        is_runtime = any(isinstance(part, RuntimeText) for part in parts)
        text = "".join(str(part).lower() if isinstance(part, bool) else str(part) for part in parts)
        return RuntimeText(text) if is_runtime else text

    def _parenthesized_expression(self, node: Node, local: dict[str, Any]) -> Any:
        return self.evaluate(named(node)[0], local)

    def _array(self, node: Node, local: dict[str, Any]) -> list[Any]:
        return [self.evaluate(each, local) for each in named(node)]

    def _object(self, node: Node, local: dict[str, Any]) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for item in named(node):
            key, value = named(item)[0], named(item)[-1]
            name = self._string(key, local) if key.type == "string" else text_of(key)
            if name in found:
                raise EvaluationProblem(f"{self._file.path}:{item.start_point.row + 1}: {name} occurs twice")
            found[str(name)] = self.evaluate(value, local)
        return found

    def _for_statement(self, node: Node, local: dict[str, Any]) -> list[Any]:
        body = node.child_by_field_name("body")
        return [self.evaluate(body, inner) for inner in self._loop(node, local)]

    def _ternary_expression(self, node: Node, local: dict[str, Any]) -> Any:
        return self._choice(node, local, self.evaluate)

    def _choice(self, node: Node, local: dict[str, Any], last: Callable[[Any, dict[str, Any]], Any]) -> Any:
        condition = self.evaluate(node.child_by_field_name("condition"), local)
        if callable(condition):
            raise EvaluationProblem(f"{self._file.path}:{node.start_point.row + 1}: put operations in parentheses")
        if condition:
            return self.evaluate(node.child_by_field_name("consequence"), local)
        return last(node.child_by_field_name("alternative"), local)

    def _unary_expression(self, node: Node, local: dict[str, Any]) -> Any:
        return self._signed(node, local, self.evaluate)

    def _signed(self, node: Node, local: dict[str, Any], operand: Callable[[Any, dict[str, Any]], Any]) -> Any:
        value = operand(node.child_by_field_name("argument"), local)
        return not value if text_of(node.child_by_field_name("operator")) == "!" else -value

    def _binary_expression(self, node: Node, local: dict[str, Any]) -> Any:
        return self._combined(node, local, self.evaluate)

    def _combined(self, node: Node, local: dict[str, Any], last: Callable[[Any, dict[str, Any]], Any]) -> Any:
        right = node.child_by_field_name("right")
        sign = text_of(node.child_by_field_name("operator"))
        left = node.child_by_field_name("left")
        value = self.evaluate(left, local)
        if callable(value) or _hides_operation(left):
            raise EvaluationProblem(f"{self._file.path}:{node.start_point.row + 1}: put operations in parentheses")
        if sign == "??":
            return last(right, local) if value is None else value
        if sign in ("&&", "||"):
            return value if bool(value) is (sign == "||") else last(right, local)
        return _OPERATORS[sign](value, last(right, local))

    def _member_expression(self, node: Node, local: dict[str, Any]) -> Any:
        return self._last_operand(
            node.child_by_field_name("object"), local, lambda owner, names: self._own(node, owner, names)
        )

    _subscript_expression = _member_expression

    def _last_operand(
        self, node: Node | None, local: dict[str, Any], part: Callable[[Any, dict[str, Any]], Any]
    ) -> Any:
        """Apply `part` to the last operand of a node.

        The grammar lets `.name` and `[0]` follow a whole lambda, choice or operation. In Bicep they follow the last
        operand of it.
        """

        def follow(inner: Node | None, names: dict[str, Any]) -> Any:
            return self._last_operand(inner, names, part)

        match node.type if node is not None else "":
            case "lambda_expression" if node is not None:
                return self._lambda(node, local, follow)
            case "ternary_expression" if node is not None:
                return self._choice(node, local, follow)
            case "binary_expression" if node is not None:
                return self._combined(node, local, follow)
            case "unary_expression" if node is not None:
                return self._signed(node, local, follow)
            case "member_expression" | "subscript_expression" if node is not None:
                own, inner = node, node.child_by_field_name("object")
                return self._last_operand(inner, local, lambda owner, names: part(self._own(own, owner, names), names))
        return part(self.evaluate(node, local), local)

    def _own(self, node: Node, owner: Any, local: dict[str, Any]) -> Any:
        """Take the part that a member or subscript names of a value."""
        is_safe = any(child.type in (".?", "?") for child in node.children)
        index = node.child_by_field_name("index")
        key = self.evaluate(index, local) if index else text_of(node.child_by_field_name("property"))
        return self._part(owner, key, is_safe, node)

    def _part(self, owner: Any, key: Any, is_safe: bool, node: Node) -> Any:
        if isinstance(owner, RuntimeText):
            return RuntimeText(f"{owner}.{key}")
        try:
            return owner[key]
        except (KeyError, IndexError, TypeError):
            if is_safe:
                return None
            where = f"{self._file.path}:{node.start_point.row + 1}"
            raise EvaluationProblem(f"{where}: {text_of(node)} does not exist") from None

    def _lambda_expression(self, node: Node, local: dict[str, Any]) -> Any:
        return self._lambda(node, local, self.evaluate)

    def _lambda(self, node: Node, local: dict[str, Any], value: Callable[[Node, dict[str, Any]], Any]) -> Any:
        *before, body = named(node)
        names = [text_of(each) for each in (named(before[0]) or before)]
        return lambda *values: value(body, {**local, **dict(zip(names, values, strict=False))})

    def _call_expression(self, node: Node, local: dict[str, Any]) -> Any:
        called = node.child_by_field_name("function")
        name = text_of(called)
        listed = node.child_by_field_name("arguments")
        nodes = named(listed) if listed else []
        if name in ("loadJsonContent", "loadTextContent"):
            return self._loaded(name, literal(nodes[0]) or "")
        values = [self.evaluate(each, local) for each in nodes]
        try:
            return self._called(name, values)
        except (ValueError, TypeError, LookupError, AttributeError) as error:
            where = f"{self._file.path}:{node.start_point.row + 1}"
            raise EvaluationProblem(f"{where}: {name}: {error}") from error

    def _called(self, name: str, values: list[Any]) -> Any:
        suffixes = CLOUDS[self._template.cloud]
        match name:
            case "subscription":
                return {"id": _SUBSCRIPTION, "subscriptionId": "SUBSCRIPTION", "tenantId": "TENANT"}
            case "tenant":
                return {"tenantId": "TENANT"}
            case "environment":
                return {"name": self._template.cloud, "suffixes": suffixes}
            case "resourceGroup":
                return _group(self._scope_id, values)
            case "resourceId":
                return _resource_id(self._scope_id, values)
        if name in self._file.functions:
            return self.value_of(name)(*values)
        return FUNCTIONS[name](*values)

    def _loaded(self, function: str, path: str) -> Any:
        where = self._file.beside(path)
        if not self._sources.exists(where):
            raise EvaluationProblem(f"{self._file.path}: there is no file {path}")
        text = self._sources.text(where)
        return json.loads(text) if function == "loadJsonContent" else text


def _hides_operation(node: Node | None) -> bool:
    """Tell whether the grammar took `a && b.c == d` as `(a && b).c == d`."""
    while node is not None and node.type in ("member_expression", "subscript_expression"):
        node = node.child_by_field_name("object")
        if node is not None and node.type in ("binary_expression", "ternary_expression", "unary_expression"):
            return True
    return False


def _group(scope_id: str, parts: list[str]) -> dict[str, str]:
    if not parts:
        return {"id": scope_id, "name": scope_id.rsplit("/", 1)[-1]}
    *subscription, name = parts
    if not name:
        raise ValueError("a resource group without a name")
    return {"id": f"/subscriptions/{(subscription or ['SUBSCRIPTION'])[0]}/resourceGroups/{name}", "name": name}


def _resource_id(scope_id: str, parts: list[str]) -> str:
    at = next(index for index, part in enumerate(parts) if "/" in part)
    kind, names = parts[at], parts[at + 1 :]
    before = scope_id if at == 0 else _group(scope_id, parts[:at])["id"]
    provider, *kinds = kind.split("/")
    tail = "/".join(f"{each}/{name}" for each, name in zip(kinds, names, strict=True))
    return f"{before}/providers/{provider}/{tail}"
