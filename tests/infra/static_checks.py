"""Checks of the syntax trees of Bicep files, for branches that no profile takes, and for what a compiler refuses."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from typing import Final

from tree_sitter import Node

from tests.infra.subject import MAIN, Subject
from tests.tools.bicep import (
    BicepFile,
    Declaration,
    descendants,
    literal,
    named,
    object_of,
    properties,
    text_of,
    used_names,
)

_HOSTS: Final = re.compile(
    r"(management\.azure|login\.microsoftonline|login\.chinacloudapi|graph\.windows|vault\.(azure|usgovcloudapi)"
    r"|core\.(windows|usgovcloudapi|chinacloudapi)|trafficmanager|openai\.azure|cognitiveservices\.azure)\.\w+"
)
"""Hosts that differ by cloud. They stand in infra/clouds.json, or come from `environment()`."""


def syntax(subject: Subject) -> Iterator[str]:
    for file in subject.files:
        for node in file.broken:
            yield f"{file.path}:{node.start_point.row + 1}: {text_of(node)[:40]!r}"


def descriptions(subject: Subject) -> Iterator[str]:
    for file in subject.files:
        for declared in (*file.parameters.values(), *file.outputs.values(), *file.types.values()):
            if "description" not in declared.decorators:
                yield f"{file.path}: {declared.name} has no description"


def unused_names(subject: Subject) -> Iterator[str]:
    for file in subject.files:
        used = Counter(used_names(file.root))
        existing = {name: each for name, each in file.resources.items() if each.is_existing}
        for name in (*file.parameters, *file.variables, *file.imports, *file.functions, *existing):
            if used[name] == 0:
                yield f"{file.path}: {name} is not used"


def name_collisions(subject: Subject) -> Iterator[str]:
    for file in subject.files:
        groups = (file.parameters, file.variables, file.functions, file.types, file.resources, file.modules)
        counts = Counter(name for group in (*groups, file.imports) for name in group)
        yield from (f"{file.path}: {name} is declared twice" for name, count in counts.items() if count > 1)


def module_files(subject: Subject) -> Iterator[str]:
    for file in subject.files:
        for module in file.modules.values():
            if not subject.sources.exists(file.beside(module.target)):
                yield f"{file.path}: there is no {module.target}"


def module_cycles(subject: Subject) -> Iterator[str]:
    def visit(path: str, above: tuple[str, ...]) -> Iterator[str]:
        if path in above:
            yield " -> ".join((*above, path))
        elif subject.sources.exists(path):
            file = subject.sources.file(path)
            for module in file.modules.values():
                yield from visit(file.beside(module.target), (*above, path))

    yield from visit(MAIN, ())


def module_parameters(subject: Subject) -> Iterator[str]:
    for file, module, target in _modules(subject):
        body = object_of(module.body)
        given = properties(properties(body)["params"]).keys() if body and "params" in properties(body) else set()
        required = {
            name
            for name, each in target.parameters.items()
            if each.body is None and not text_of(each.type_node).endswith("?")
        }
        for name in given - target.parameters.keys():
            yield f"{file.path}: {module.name} has no parameter {name}"
        for name in required - given:
            yield f"{file.path}: {module.name} needs {name}"


def module_outputs(subject: Subject) -> Iterator[str]:
    for file in subject.files:
        for node in descendants(file.root):
            found = _output_of(node)
            if found and found[0] in file.modules:
                path = file.beside(file.modules[found[0]].target)
                if subject.sources.exists(path) and found[1] not in subject.sources.file(path).outputs:
                    yield f"{file.path}:{node.start_point.row + 1}: {found[0]} has no output {found[1]}"


def loaded_files(subject: Subject) -> Iterator[str]:
    for file in subject.files:
        for node in descendants(file.root):
            if node.type == "call_expression" and text_of(named(node)[0]).startswith("load"):
                path = literal(named(named(node)[1])[0]) or ""
                if not subject.sources.exists(file.beside(path)):
                    yield f"{file.path}:{node.start_point.row + 1}: there is no {path}"


def maybe_absent(subject: Subject) -> Iterator[str]:
    """A thing with a condition may be absent: its parts are taken with `!` or `.?`, as the compiler wants it."""
    for file in subject.files:
        conditional = {
            name
            for name, each in (file.resources | file.modules).items()
            if each.body is not None and each.body.type == "if_statement"
        }
        for node in descendants(file.root):
            owner = node.child_by_field_name("object") if node.type == "member_expression" else None
            if owner is None or owner.type != "identifier" or text_of(owner) not in conditional:
                continue
            if not any(child.type in ("!", ".?") for child in node.children):
                yield f"{file.path}:{node.start_point.row + 1}: {text_of(node)} may be absent"


def needless_dependencies(subject: Subject) -> Iterator[str]:
    for file in subject.files:
        for declared in (*file.resources.values(), *file.modules.values()):
            body = object_of(declared.body)
            listed = properties(body).get("dependsOn") if body else None
            if body is None or listed is None:
                continue
            others = [item for item in named(body) if text_of(named(item)[0]) != "dependsOn"]
            used = {name for item in others for name in used_names(item)}
            for name in {text_of(each) for each in named(listed)} & used:
                yield f"{file.path}: {declared.name} depends on {name} anyway"


def one_version_a_type(subject: Subject) -> Iterator[str]:
    versions: dict[str, set[str]] = {}
    for file in subject.files:
        for resource in file.resources.values():
            kind, _, version = resource.target.partition("@")
            versions.setdefault(kind, set()).add(version)
    yield from (f"{kind} has the versions {sorted(found)}" for kind, found in versions.items() if len(found) > 1)


def hosts_by_cloud(subject: Subject) -> Iterator[str]:
    for file in subject.files:
        for node in descendants(file.root):
            if node.type == "string_content" and _HOSTS.search(text_of(node)):
                yield f"{file.path}:{node.start_point.row + 1}: {text_of(node)}"


def locations(subject: Subject) -> Iterator[str]:
    for file in subject.files:
        for resource in file.resources.values():
            body = object_of(resource.body)
            stated = literal(properties(body).get("location")) if body else None
            if stated not in (None, "global"):
                yield f"{file.path}: {resource.name} is always in {stated}"


def secrets_stay_secret(subject: Subject) -> Iterator[str]:
    """A secret is a secure parameter without a value of its own, and no output shows it."""
    for file in subject.files:
        secure = {name for name, each in file.parameters.items() if "secure" in each.decorators}
        for name, parameter in file.parameters.items():
            if name in ("adminKey", "chainKey", "privacyKey") and name not in secure:
                yield f"{file.path}: {name} is not secure"
            if name in secure and parameter.body is not None and literal(parameter.body) != "":
                yield f"{file.path}: the secure parameter {name} has a value"
        for output in file.outputs.values():
            names = set(used_names(output.node))
            if names & secure or names & {"listKeys", "listAccountSas", "listSecrets", "list"}:
                yield f"{file.path}: the output {output.name} shows a secret"


def serial_deployments(subject: Subject) -> Iterator[str]:
    """An account takes one change at a time: loops over its children make one after the other."""
    for file in subject.files:
        for resource in file.resources.values():
            is_child = resource.target.startswith("Microsoft.CognitiveServices/accounts/")
            if is_child and resource.body is not None and resource.body.type == "for_statement":
                size = resource.decorators.get("batchSize", ())
                if [text_of(each) for each in size] != ["1"]:
                    yield f"{file.path}: {resource.name} is not made one by one"


def _modules(subject: Subject) -> Iterator[tuple[BicepFile, Declaration, BicepFile]]:
    for file in subject.files:
        for module in file.modules.values():
            path = file.beside(module.target)
            if subject.sources.exists(path):
                yield file, module, subject.sources.file(path)


def _output_of(node: Node) -> tuple[str, str] | None:
    """Return the names of the module and its output, if a node is `module.outputs.name`."""
    if node.type != "member_expression":
        return None
    inner = node.child_by_field_name("object")
    if inner is None or inner.type != "member_expression":
        return None
    if text_of(inner.child_by_field_name("property")) != "outputs":
        return None
    owner = inner.child_by_field_name("object")
    while owner is not None and owner.type == "subscript_expression":
        owner = owner.child_by_field_name("object")
    return text_of(owner), text_of(node.child_by_field_name("property"))
