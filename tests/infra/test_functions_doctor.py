"""`azure-functions-doctor` finds nothing. What it is told to ignore, and why, stands in pyproject.toml."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tomllib
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
IGNORED = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["azure-functions-doctor"]["ignore"]


def test_the_doctor_finds_nothing() -> None:
    command = [str(Path(sys.executable).with_name("azure-functions-doctor")), "doctor", "--format", "json"]
    options = ["--hosting-plan", "flex-consumption", "--deployment-mode", "local-prebuilt", "--target-python", "3.13"]
    environment = {**os.environ, "VIRTUAL_ENV": sys.prefix, "COLUMNS": "200"}
    ran = subprocess.run([*command, *options], cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    items = [item for section in json.loads(ran.stdout)["results"] for item in section["items"]]
    found = {item["rule_id"]: item["value"] for item in items if item["status"] not in ("pass", "skip")}
    assert (found, ran.returncode) == ({}, 0)
    assert set(IGNORED) <= {item["rule_id"] for item in items}  # no rule is ignored that has gone
