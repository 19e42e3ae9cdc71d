"""Gateway keys are found by tenant, expire, and are never shown."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from shared.domain.tenancy.keys import new_gateway_key, parse_gateway_key

EARLY = datetime(2020, 1, 1, tzinfo=UTC)


def test_keys_are_found_by_their_tenant_and_never_shown() -> None:
    key, credential = new_gateway_key("a-b", EARLY, None)
    parsed = parse_gateway_key(credential)
    assert parsed is not None
    assert parsed[:2] == ("a-b", key.key_id)
    assert key.accepts(parsed[2], lambda: EARLY)
    assert not key.accepts(parsed[2] + "x", lambda: EARLY)
    assert parsed[2] not in repr(key)
    assert key.secret_sha256 not in repr(key)


def test_a_key_is_accepted_until_it_expires() -> None:
    key, credential = new_gateway_key("a-b", EARLY, EARLY + timedelta(hours=1))
    parsed = parse_gateway_key(credential)
    assert parsed is not None
    assert key.accepts(parsed[2], lambda: EARLY + timedelta(minutes=59))
    assert not key.accepts(parsed[2], lambda: EARLY + timedelta(hours=1))
