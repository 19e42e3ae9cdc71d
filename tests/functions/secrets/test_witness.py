"""The address of the witness behind a webhook is a secret of the vault."""

from __future__ import annotations

from pathlib import Path

import pytest

from shared import timers
from shared.application.sweep import SweepFailed
from shared.domain.audit.anchor_files import leaf_path
from shared.generated_secrets import generate_key_file
from tests.functions.secrets.conftest import OLD, Vaulted
from tests.tools.alert_receivers import running_receiver

WITNESS_SECRET = "anchor-witness"


@pytest.fixture
def stack_settings(tmp_path: Path) -> dict[str, str]:
    file = tmp_path / "signing-key.pem"
    generate_key_file(file)
    return {"AUDIT_SIGNING_KEY_FILE": str(file), "AUDIT_WITNESS_URL_SECRET_NAME": WITNESS_SECRET}


async def test_a_witness_gets_checkpoints_at_the_address_of_the_vault(vaulted: Vaulted) -> None:
    async with running_receiver() as receiver:
        vaulted.vault.set(WITNESS_SECRET, receiver.url.partition("?")[0], age_seconds=OLD)
        await timers.anchor_audit(past_due=False)
    (arrival,) = receiver.arrivals
    assert arrival.body.startswith(b"tallygate/memory\n1\n")


@pytest.mark.parametrize("text", ["", "http://witness.example.com/SECRET", "SECRET"])
async def test_an_address_that_is_missing_or_none_is_told_and_not_shown(vaulted: Vaulted, text: str) -> None:
    if text:
        vaulted.vault.set(WITNESS_SECRET, text, age_seconds=OLD)
    with pytest.raises(SweepFailed, match=f"the webhook: SecretUnavailable: The secret '{WITNESS_SECRET}'") as failed:
        await timers.anchor_audit(past_due=False)
    assert "SECRET" not in str(failed.value)
    assert await (await vaulted.stack.gateway()).anchors.store.read(leaf_path(0)) is not None


async def test_a_backend_cannot_be_sent_the_address(vaulted: Vaulted) -> None:
    stack = vaulted.stack
    found = (await stack.manage("GET", "/manage/backends/se-gpt-4o")) | {"secret_name": WITNESS_SECRET}
    definition = {name: found[name] for name in ("endpoint", "upstream_deployment", "model", "region", "secret_name")}
    refused = await stack.manage("PUT", "/manage/backends/new", {**definition, "auth": "api_key"}, status=400)
    assert refused["error"]["param"] == "secret_name"
