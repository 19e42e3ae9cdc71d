"""The addresses and signing secrets of alert sinks come from the vault, and are rotated there."""

from __future__ import annotations

import base64
import json

import pytest
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from tests.functions.secrets.conftest import OLD, Vaulted
from tests.tools.alert_receivers import SIGNING_SECRET, Arrival, running_receiver

NEW_SECRET = "whsec_" + base64.b64encode(b"another-signing-secret-for-tests").decode()
SINK = {"type": "webhook", "address_secret": "ops-address", "signing_secret": "ops-key"}


def is_signed_by(arrival: Arrival, secret: str) -> bool:
    try:
        Webhook(secret).verify(arrival.body, arrival.headers)
    except WebhookVerificationError:
        return False
    return True


@pytest.mark.parametrize(("age", "signers"), [(OLD, [False, True]), (0, [True, True])])
async def test_a_webhook_is_signed_by_the_versions_that_overlap(
    vaulted: Vaulted, age: float, signers: list[bool]
) -> None:
    stack, vault = vaulted.stack, vaulted.vault
    async with running_receiver() as receiver:
        vault.set("ops-address", receiver.url, age_seconds=OLD)
        vault.set("ops-key", SIGNING_SECRET, age_seconds=OLD + 1)
        vault.set("ops-key", NEW_SECRET, age_seconds=age)
        put = await stack.manage("PUT", "/manage/alerts/sinks/ops", SINK)
        tested = await stack.manage("POST", "/manage/alerts/test", {"sink": "ops"})
    (arrival,) = receiver.arrivals
    assert [is_signed_by(arrival, each) for each in (SIGNING_SECRET, NEW_SECRET)] == signers
    shown = json.dumps([put, tested, await stack.manage("GET", "/manage/alerts/sinks")])
    assert not [text for text in (receiver.url, SIGNING_SECRET, NEW_SECRET) if text in shown]


async def test_a_sink_whose_secret_is_missing_is_refused_by_its_name(vaulted: Vaulted) -> None:
    vaulted.vault.set("ops-key", SIGNING_SECRET, age_seconds=OLD)
    refused = await vaulted.stack.manage("PUT", "/manage/alerts/sinks/ops", SINK, status=400)
    assert "'ops-address' does not exist in the key vault" in refused["error"]["message"]


@pytest.mark.parametrize("secret", ["tallygate-admin-key", "Tallygate-Admin-Key"])
async def test_a_sink_cannot_be_sent_the_management_key(vaulted: Vaulted, secret: str) -> None:
    refused = await vaulted.stack.manage(
        "PUT", "/manage/alerts/sinks/ops", {**SINK, "address_secret": secret}, status=400
    )
    assert refused["error"]["param"] == "address_secret"
