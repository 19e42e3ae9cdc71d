"""Gateway keys are found by tenant, expire, and are never shown."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest

from shared.domain.tenancy.keys import has_form_of_key, new_gateway_key, parse_gateway_key
from shared.domain.tenancy.rotation import Rotation

EARLY = datetime(2020, 1, 1, tzinfo=UTC)


def test_keys_are_found_by_their_tenant_and_never_shown() -> None:
    key, credential = new_gateway_key("a-b", EARLY, None)
    parsed = parse_gateway_key(credential)
    assert parsed is not None
    assert parsed[:2] == ("a-b", key.key_id)
    assert key.has_secret(parsed[2])
    assert not key.has_secret(parsed[2] + "x")
    assert parsed[2] not in repr(key)
    assert key.secret_sha256 not in repr(key)


def test_a_key_is_in_force_until_it_expires() -> None:
    key, _ = new_gateway_key("a-b", EARLY, EARLY + timedelta(hours=1))
    assert key.is_in_force(lambda: EARLY + timedelta(minutes=59))
    assert not key.is_in_force(lambda: EARLY + timedelta(hours=1))


def test_a_key_ended_when_it_was_revoked_or_expired_whichever_came_first() -> None:
    key, _ = new_gateway_key("a-b", EARLY, EARLY + timedelta(hours=2))
    revoked = replace(key, revoked_at=EARLY + timedelta(hours=1))
    assert key.ended_at(EARLY) is None
    assert key.ended_at(EARLY + timedelta(hours=3)) == EARLY + timedelta(hours=2)
    assert revoked.ended_at(EARLY + timedelta(hours=3)) == EARLY + timedelta(hours=1)
    assert [each.state(EARLY + timedelta(hours=3)) for each in (key, revoked)] == ["expired", "revoked"]
    assert key.state(EARLY) == "active"


def test_a_checksum_ends_the_secret_and_covers_all_before_it() -> None:
    _, credential = new_gateway_key("a-b", EARLY, None)
    assert has_form_of_key(credential)
    for changed in (f"tg_a-c{credential[6:]}", credential[:-1] + ("a" if credential[-1] != "a" else "b")):
        assert len(changed) == len(credential)
        assert not has_form_of_key(changed)


def test_the_checksum_is_a_crc_32_in_base_62() -> None:
    # of "tg_acme-01234567_" and 43 times "x", computed by another implementation
    assert has_form_of_key(f"tg_acme-01234567_{'x' * 43}3Eymky")


@pytest.mark.parametrize(
    "credential",
    [
        "tg_acme-0123456_x", "tg_acme-0123456G_x", "tg_Acme-01234567_x", "tg_-01234567_x", "tg_a b-01234567_x",
        "tg_a/b-01234567_x", "tg_acme-01234567_", "tg_acme-01234567_x y", "tg_acme-01234567_\u00e9",
        "tg_acme-01234567_x\n", "tg_acme-01234567", "tg_acme-\u0660\u0661234567_x", "ts_acme-01234567_x",
        f"tg_acme-01234567_{'x' * 50}", f"tg_{'a' * 41}-01234567_x", "", "tg_",
    ],
)  # fmt: skip
def test_what_cannot_be_a_key_is_known_by_its_form(credential: str) -> None:
    assert not has_form_of_key(credential)


def test_keys_of_older_versions_have_no_checksum() -> None:
    assert has_form_of_key(f"tg_acme-01234567_{'x' * 43}")


def test_a_key_that_ends_in_the_year_9999_is_rotated_into_one_that_does() -> None:
    key, _ = new_gateway_key("a-b", EARLY, datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))
    end = Rotation().end_of_new(key, EARLY + timedelta(days=365))
    assert end is not None
    assert end.year == 9999
