"""Telemetry is exported with the identity of the process."""

from __future__ import annotations

from typing import Any

import pytest

from shared.composition.telemetry import _credential
from shared.settings import read_settings
from tests.tools.stack import CHAIN_KEY

CLIENT = "11111111-1111-1111-1111-111111111111"


@pytest.mark.parametrize(
    ("stated", "kind"),
    [
        ({}, "ManagedIdentityCredential"),
        ({"USE_MANAGED_IDENTITY": "false"}, "DefaultAzureCredential"),
        (
            {"AZURE_FEDERATED_TOKEN_FILE": "/token", "AZURE_TENANT_ID": CLIENT, "AZURE_CLIENT_ID": CLIENT},
            "WorkloadIdentityCredential",
        ),
    ],
)
def test_the_identity_is_that_of_the_process(
    monkeypatch: pytest.MonkeyPatch, stated: dict[str, str], kind: str
) -> None:
    environment = {"TALLYGATE_STORAGE": "memory", "AUDIT_CHAIN_KEY": CHAIN_KEY, **stated}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    credential: Any = _credential(read_settings())
    assert type(credential).__name__ == kind
    credential.close()
