"""Signatures, messages and addresses of sinks."""

from __future__ import annotations

import base64
import json
import secrets
import socket
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from standardwebhooks.webhooks import Webhook, WebhookVerificationError

from shared.adapters.notifications.addresses import AddressRules, CheckedResolver
from shared.adapters.notifications.messages import slack_message, teams_message
from shared.adapters.notifications.signatures import signed_headers, signing_keys, webhook_id
from shared.application.ports.secrets import SecretVersion
from shared.domain.alerts.event import AlertEvent
from tests.tools.alert_receivers import event

RULES = AddressRules(host_suffixes=(".Example.com",), topic_suffixes=(".eventgrid.azure.net",))
TODAY = datetime.now(UTC)
BODY = b'{"a":1}'


def secret() -> str:
    return "whsec_" + base64.b64encode(secrets.token_bytes(24)).decode()


def version(value: str, hours_ago: float) -> SecretVersion:
    return SecretVersion(version="1", created_at=TODAY - timedelta(hours=hours_ago), value=value)


def is_verified(value: str, headers: dict[str, str]) -> bool:
    """Verify headers by the reference implementation, which refuses those of other times than now."""
    try:
        return bool(Webhook(value).verify(BODY.decode(), headers) == {"a": 1})
    except WebhookVerificationError:
        return False


def test_the_reference_implementation_verifies_requests_and_no_changed_ones() -> None:
    stated, other, now = secret(), secret(), datetime.now(UTC)
    headers = signed_headers("acme:2026-11:usd:80", BODY, signing_keys([version(stated, 99)], TODAY), now)
    assert headers["webhook-id"] == "acme:2026-11:usd:80"
    assert is_verified(stated, headers)
    assert not is_verified(other, headers)
    assert not is_verified(stated, {**headers, "webhook-id": "acme:2026-11:usd:100"})


def test_while_a_secret_rotates_the_one_before_signs_for_a_day() -> None:
    oldest, old, new, now = secret(), secret(), secret(), datetime.now(UTC)
    versions = [version(oldest, 99), version(old, 30), version(new, 1)]
    headers = signed_headers("one", BODY, signing_keys(versions, TODAY), now)
    assert headers["webhook-signature"].count("v1,") == 2
    assert [is_verified(each, headers) for each in (new, old, oldest)] == [True, True, False]
    day_later = signed_headers("one", BODY, signing_keys(versions, TODAY + timedelta(hours=24)), now)
    assert [is_verified(each, day_later) for each in (new, old)] == [True, False]


def test_a_request_has_three_signatures_at_most() -> None:
    keys = [version(secret(), hours) for hours in (5, 4, 3, 2, 1)]
    assert len(signing_keys(keys, TODAY)) == 3


@pytest.mark.parametrize("value", ["whsec_", "no base64!", base64.b64encode(b"x" * 23).decode(), "A" * 200])
def test_a_signing_secret_has_24_to_64_bytes(value: str) -> None:
    with pytest.raises(ValueError, match=r"base64|bytes"):
        signing_keys([version(value, 1)], TODAY)


def test_the_id_of_a_request_is_ascii_without_dots() -> None:
    assert webhook_id("acme-1:203.0.113.7/24:gpt 4ü") == "acme-1:203=2E0=2E113=2E7=2F24:gpt=204=C3=BC"


def hostile() -> AlertEvent:
    return event(label="[click](https://evil.example) <!channel> & *bold*", extra="x" * 9000)


def test_values_are_no_markup_in_teams() -> None:
    message: Any = teams_message(hostile(), "https://docs.example/runbook#budget-threshold")
    (attachment,) = message["attachments"]
    assert message["type"] == "message"
    assert attachment["contentType"] == "application/vnd.microsoft.card.adaptive"
    card = attachment["content"]
    assert (card["type"], card["version"]) == ("AdaptiveCard", "1.4")
    title, *lines = card["body"]
    assert title["text"] == "Warning: budget.threshold"
    assert {each["type"] for each in lines} == {"RichTextBlock"}
    texts = [run["text"] for each in lines for run in each["inlines"]]
    assert "label: [click](https://evil.example) <!channel> & *bold*" in texts
    assert max(map(len, texts)) < 600
    assert card["actions"] == [
        {"type": "Action.OpenUrl", "title": "Runbook", "url": "https://docs.example/runbook#budget-threshold"}
    ]
    assert "actions" not in json.dumps(teams_message(event(), ""))


def test_values_are_no_markup_in_slack() -> None:
    message: Any = slack_message(hostile(), "https://docs.example/runbook")
    header, section, actions = message["blocks"]
    assert {header["text"]["type"], section["text"]["type"]} == {"plain_text"}
    assert len(section["text"]["text"]) <= 3000
    assert actions["elements"][0]["url"] == "https://docs.example/runbook"
    plain: Any = slack_message(event(), "")
    assert len(plain["blocks"]) == 2
    mention = slack_message(event(tenant="<!here>&"), "")["text"]
    assert mention == "Warning: budget.threshold: tenants/&lt;!here&gt;&amp;"


@pytest.mark.parametrize(
    "url",
    [
        "http://hooks.example.com/",
        "https://hooks.example.com.evil.test/",
        "https://evil.test/#.example.com",
        "https://evil.test?.example.com",
        "https://user@hooks.example.com/",
        "https://:secret@hooks.example.com/",
        "https://evil.test\\@hooks.example.com/",
        "https://127.0.0.1/",
        "http://127.0.0.1/",
        "http://localhost/",
        "https://[::1]/",
        "https:///path",
        "https://hooks.example.com/ x",
        "ftp://hooks.example.com/",
        "https://hooks.example.com:99999/",
        "https://hooks.example.com./",
        "https://[::1%25.example.com]/",
        "https://[fe80::1%.example.com]/",
        "https://[::ffff:169.254.169.254%x.example.com]/",
        "https://2130706433/",
        "https://0x7f.1/",
        "https://0177.0.0.1/",
        "https://.example.com/",
        "https://a..example.com/",
        f"https://{'a' * 64}.example.com/",
        f"https://{'a.' * 130}example.com/",
        "https://127.0.0.1%2f.example.com/",
        "https://evil.test%23.example.com/",
        "https://xn--a.example.com/",
        "https://hooks.example.com:SECRET/",
        "https://hooks.example.com/\u00fc",
        "",
    ],
)
def test_an_address_off_the_list_is_refused(url: str) -> None:
    with pytest.raises(ValueError, match=r".") as refused:
        RULES.url(url, RULES.host_suffixes)
    assert not url or url not in str(refused.value)


def test_an_address_is_called_as_it_is_written() -> None:
    url = "https://Hooks.example.com:443/w/a%2Fb?sig=a%2Bb%3D&sp=%2Ftriggers"
    found = RULES.url(url, RULES.host_suffixes)
    assert (found.host, found.raw_path_qs) == ("hooks.example.com", "/w/a%2Fb?sig=a%2Bb%3D&sp=%2Ftriggers")


def test_emulators_may_be_on_this_machine_without_tls() -> None:
    rules = AddressRules(host_suffixes=(), topic_suffixes=(), allow_loopback=True)
    assert rules.url("http://127.0.0.1:1/", ()).port == 1
    assert rules.admits("127.0.0.1", private=False)
    assert rules.url("http://[::1]:2/", ()).port == 2
    with pytest.raises(ValueError, match="https"):
        rules.url("http://10.0.0.1/", ())


@pytest.mark.parametrize(
    ("address", "is_admitted", "is_admitted_privately"),
    [
        ("93.184.215.14", True, True),
        ("2606:2800:21f:cb07::1", True, True),
        ("10.1.2.3", False, True),
        ("192.168.0.1", False, True),
        ("fd00::1", False, True),
        ("127.0.0.1", False, False),
        ("::1", False, False),
        ("0.0.0.0", False, False),
        ("169.254.169.254", False, False),
        ("fe80::1%eth0", False, False),
        ("168.63.129.16", False, False),
        ("224.0.0.1", False, False),
        ("240.0.0.1", False, False),
        ("::ffff:127.0.0.1", False, False),
        ("::ffff:10.0.0.1", False, True),
        ("64:ff9b::a9fe:a9fe", False, False),
        ("2002:7f00:1::", False, False),
        ("100.64.0.1", False, False),
    ],
)
def test_only_public_addresses_are_connected_to(address: str, is_admitted: bool, is_admitted_privately: bool) -> None:
    assert RULES.admits(address, private=False) is is_admitted
    assert RULES.admits(address, private=True) is is_admitted_privately


class Names(AbstractResolver):
    """Resolves every name to these addresses."""

    def __init__(self, addresses: Sequence[str]) -> None:
        self.addresses = addresses
        self.is_closed = False

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_INET
    ) -> list[ResolveResult]:
        return [
            ResolveResult(hostname=host, host=each, port=port, family=family, proto=0, flags=0)
            for each in self.addresses
        ]

    async def close(self) -> None:
        self.is_closed = True


async def test_a_name_is_connected_to_at_admitted_addresses_only() -> None:
    names = Names(["10.0.0.1", "93.184.215.14"])
    resolver = CheckedResolver(lambda address: RULES.admits(address, private=False), names)
    assert [each["host"] for each in await resolver.resolve("hooks.example.com", 443)] == ["93.184.215.14"]
    names.addresses = ["169.254.169.254"]
    with pytest.raises(OSError, match="no address that is allowed"):
        await resolver.resolve("hooks.example.com", 443)
    await resolver.close()
    assert names.is_closed
