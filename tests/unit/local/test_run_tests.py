"""Plans of `make test`: the environments to set up, and the coverage gate."""

from __future__ import annotations

import pytest

from local.run_tests import NEEDED_BY, Plan, plan
from local.setup.steps import ROOT

EVERYTHING = ("clients", "kusto", "conformance", "azurite")


@pytest.mark.parametrize(
    ("arguments", "planned"),
    [
        ((), Plan(EVERYTHING, is_whole=True)),
        (("-q", "--maxfail=1", "--color=no"), Plan(EVERYTHING, is_whole=True)),
        (("tests",), Plan(EVERYTHING, is_whole=True)),
        (("tests/unit",), Plan((), is_whole=False)),
        (("tests/unit/local/test_run_tests.py::test_plan[x]", "-x"), Plan((), is_whole=False)),
        (("tests/architecture", "tests/contract"), Plan(("azurite",), is_whole=False)),
        (("tests/e2e",), Plan(("azurite",), is_whole=False)),
        (("tests/infra",), Plan(("kusto",), is_whole=False)),
        (("tests/functions",), Plan(("conformance", "azurite"), is_whole=False)),
        (("tests/functions/tenancy",), Plan(("azurite",), is_whole=False)),
        (("tests/functions/host/test_conformance.py",), Plan(("conformance", "azurite"), is_whole=False)),
        (("tests/adversary/callers",), Plan(("azurite",), is_whole=False)),
        (("tests/adversary",), Plan(("conformance", "azurite"), is_whole=False)),
        (("tests/clients/test_schema.py",), Plan(("clients", "azurite"), is_whole=False)),
        (("-k", "ledger"), Plan(EVERYTHING, is_whole=False)),
        (("-m", "not slow"), Plan(EVERYTHING, is_whole=False)),
        (("--deselect=tests/unit",), Plan(EVERYTHING, is_whole=False)),
        (("--lf",), Plan(EVERYTHING, is_whole=False)),
    ],
)
def test_a_run_needs_what_its_paths_need_and_is_whole_without_a_selection(
    arguments: tuple[str, ...], planned: Plan
) -> None:
    assert plan(arguments) == planned


def test_needs_are_declared_for_paths_that_exist() -> None:
    places = [place for each in NEEDED_BY.values() for place in each]
    assert [place for place in places if not (ROOT / place).exists()] == []
