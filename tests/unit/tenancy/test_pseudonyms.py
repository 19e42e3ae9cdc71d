"""The keys of users' rows, and the state of a tenant's aliases."""

from __future__ import annotations

import hmac
from hashlib import sha256

from shared.domain.tenancy.pseudonyms import (
    MAX_NEW_PER_DAY,
    PseudonymState,
    canonical_user,
    new_alias,
    prompt_hmac,
    user_key,
)

KEY, OTHER = b"k" * 32, b"o" * 32


def test_a_row_is_found_by_its_key_tenant_and_user_alone() -> None:
    derived = hmac.digest(KEY, b"tallygate/users/acme", sha256)
    assert user_key(KEY, "acme", "ann") == hmac.digest(derived, b"ann", sha256).hex()
    keys = {user_key(key, tenant, user) for key in (KEY, OTHER) for tenant in ("acme", "blue") for user in ("a", "b")}
    assert len(keys) == 8


def test_the_hash_of_a_prompt_names_its_key_and_differs_by_tenant() -> None:
    derived = hmac.digest(KEY, b"tallygate/prompts/acme", sha256)
    key_id = hmac.digest(KEY, b"tallygate/key-id", sha256).hex()[:8]
    assert prompt_hmac(KEY, "acme", b"{}") == f"{key_id}.{hmac.digest(derived, b'{}', sha256).hex()}"
    assert prompt_hmac(KEY, "blue", b"{}").partition(".")[0] == key_id
    assert len({prompt_hmac(key, tenant, b"{}") for key in (KEY, OTHER) for tenant in ("acme", "blue")}) == 4


def test_one_person_has_one_form() -> None:
    composed, decomposed = "Zo\u00eb", "Zoe\u0308"
    as_header = composed.encode().decode("latin-1")
    assert canonical_user(composed) == canonical_user(decomposed) == canonical_user(as_header) == composed
    assert canonical_user("x" * 300) == "x" * 256
    assert canonical_user("Ann") != canonical_user("ann")


def test_aliases_are_random() -> None:
    assert len({new_alias() for _ in range(1000)}) == 1000


def test_the_aliases_of_a_day_are_counted() -> None:
    state = PseudonymState()
    for _ in range(MAX_NEW_PER_DAY):
        assert not state.is_full("2026-11-01")
        state = state.with_new("2026-11-01")
    assert state.with_erasure() == PseudonymState("2026-11-01", MAX_NEW_PER_DAY, 1)
    assert state.with_erasure().is_full("2026-11-01")
    assert not state.is_full("2026-11-02")
    assert state.with_erasure().with_new("2026-11-02") == PseudonymState("2026-11-02", 1, 1)
