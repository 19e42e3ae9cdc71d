"""`python -m infra.hooks.parameters`: print the parameters that azd would give to the template, for other programs.

Like azd, it reads `infra/main.parameters.json`, takes variables of the environment, and leaves out what is empty.
"""

from __future__ import annotations

import json
import os
import re
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final

FOLDER: Final = Path(__file__).resolve().parents[1]
_VARIABLE: Final = re.compile(r"\$\{(\w+)(?:=([^}]*))?\}")
_TYPE: Final = re.compile(r"^param (\w+) (\w+)", re.MULTILINE)


def parameter_file(variables: Mapping[str, str], folder: Path = FOLDER) -> dict[str, Any]:
    """Return a file of parameters as Azure Resource Manager takes it."""
    types = dict(_TYPE.findall((folder / "main.bicep").read_text()))
    file: dict[str, Any] = json.loads((folder / "main.parameters.json").read_text())
    given = {
        name: _typed(_substituted(each["value"], variables), types.get(name, ""))
        for name, each in file["parameters"].items()
    }
    stated = {name: {"value": value} for name, value in given.items() if value != ""}
    return {**file, "parameters": stated}


def _substituted(value: Any, variables: Mapping[str, str]) -> Any:
    if isinstance(value, str):
        return _VARIABLE.sub(lambda found: variables.get(found[1]) or found[2] or "", value)
    if isinstance(value, list):
        return [_substituted(each, variables) for each in value]
    if isinstance(value, dict):
        return {name: _substituted(each, variables) for name, each in value.items()}
    return value


def _typed(value: Any, kind: str) -> Any:
    """Turn a text into a flag or a number. Another text stays, and Azure names it."""
    if kind == "bool" and value in ("true", "false"):
        return value == "true"
    if kind == "int" and isinstance(value, str) and re.fullmatch(r"-?\d+", value):
        return int(value)
    return value


if __name__ == "__main__":
    json.dump(parameter_file(os.environ), sys.stdout, indent=2)
