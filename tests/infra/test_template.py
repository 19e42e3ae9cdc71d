"""The template passes every check, in every profile."""

from __future__ import annotations

import pytest

from tests.infra.all_checks import CHECKS
from tests.infra.subject import Subject, profile_parameters


@pytest.fixture(scope="module")
def subject() -> Subject:
    return Subject()


@pytest.mark.parametrize("name", CHECKS)
def test_the_template_passes(name: str, subject: Subject) -> None:
    assert list(CHECKS[name](subject)) == []


def test_witnesses_are_settings_of_the_app(subject: Subject) -> None:
    witnesses = {"witnessContainerUrl": "https://copies.blob.core.windows.net/heads", "witnessUrlEntry": "ops-witness"}
    template = subject.template({**profile_parameters(subject.sources, "public"), **witnesses})
    (settings,) = (each.properties for each in template.of("Microsoft.Web/sites/config") if each.name == "appsettings")
    assert settings["AUDIT_WITNESS_CONTAINER_URL"] == witnesses["witnessContainerUrl"]
    assert settings["AUDIT_WITNESS_URL_SECRET_NAME"] == "ops-witness"
