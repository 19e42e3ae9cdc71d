"""The checks find planted mistakes. Each applies to the real files, in memory."""

from __future__ import annotations

import pytest

from tests.infra.all_checks import CHECKS
from tests.infra.faults import FAULTS, Fault
from tests.infra.subject import Subject
from tests.tools.bicep import BicepSources
from tests.tools.bicep_evaluation import EvaluationProblem


@pytest.mark.parametrize("name", FAULTS)
def test_a_planted_fault_is_found(name: str) -> None:
    assert _found(FAULTS[name])


def test_there_are_enough_faults_and_every_one_is_another() -> None:
    assert len(FAULTS) >= 30
    assert len({(fault.path, fault.old) for fault in FAULTS.values()}) == len(FAULTS)


def _found(fault: Fault) -> list[str]:
    text = BicepSources().text(fault.path)
    assert text.count(fault.old) >= 1, "the fault no longer applies"
    subject = Subject({fault.path: text.replace(fault.old, fault.new, 1)})
    try:
        return list(CHECKS[fault.check](subject))
    except EvaluationProblem:  # found, but by a check that is not its own
        return list(CHECKS["deployable"](subject)) if fault.check == "deployable" else []
