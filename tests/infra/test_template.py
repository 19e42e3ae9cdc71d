"""The template passes every check, in every profile."""

from __future__ import annotations

import pytest

from tests.infra.all_checks import CHECKS
from tests.infra.subject import Subject


@pytest.fixture(scope="module")
def subject() -> Subject:
    return Subject()


@pytest.mark.parametrize("name", CHECKS)
def test_the_template_passes(name: str, subject: Subject) -> None:
    assert list(CHECKS[name](subject)) == []
