"""Whatever somebody sends, a token is accepted or refused: nothing else happens."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from local.emulators.entra import EmulatedEntra
from local.emulators.entra_objects import Application, encoded
from shared.adapters.identity.access_tokens import EntraAccessTokens
from shared.adapters.identity.signing_keys import SigningKeys
from shared.adapters.identity.verified_tokens import VerifiedTokens
from shared.domain.errors import InvalidToken
from shared.domain.identity.authority import authority_of
from shared.domain.identity.token_rules import TokenRules
from tests.tools.ledgers import ManualClock

ENTRA = EmulatedEntra("https://entra.example", applications=[Application()])
CLAIMS = ENTRA.claims_of(ENTRA.applications[0])
GOOD = ENTRA.signed(CLAIMS)
AUTHORITY = authority_of(ENTRA.url)
assert AUTHORITY is not None
RULES = TokenRules(
    authority=AUTHORITY,
    directory_ids=frozenset({ENTRA.directory_id}),
    home_directory_id=ENTRA.directory_id,
    audiences=frozenset({ENTRA.gateway_id}),
    scopes=frozenset({"user_impersonation"}),
)
_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
_NAMES = st.sampled_from(
    [*CLAIMS, "scp", "sub", "roles", "groups", "hasgroups", "_claim_names", "appid", "cnf", "xms_mirid"]
)
_HEADER_NAMES = st.sampled_from(["alg", "typ", "kid", "crit", "jku", "jwk", "x5c", "x5t", "nonce"])


def is_accepted(token: str) -> bool:
    """Verify a token by a verifier that knows none. Any error but `InvalidToken` fails the test."""
    clock, verified = ManualClock(datetime.now(UTC)), VerifiedTokens()

    async def fetch() -> dict[str, Any]:
        return {key.key_id: key.private.public_key() for key in ENTRA.keys}

    async def verify() -> bool:
        keys = {ENTRA.directory_id: SigningKeys(fetch, clock, verified.clear)}
        try:
            await EntraAccessTokens(RULES, keys, verified, clock).verify(token)
        except InvalidToken:
            return False
        return True

    return asyncio.run(verify())


@given(st.text() | st.from_regex(r"ey[A-Za-z0-9_-]*(\.[A-Za-z0-9_-]*)*", fullmatch=True))
def test_a_text_is_no_token(text: str) -> None:
    assert not is_accepted(text)


@given(st.integers(0, len(GOOD) - 1), st.characters(max_codepoint=0x17F))
def test_a_token_with_another_character_is_refused(place: int, character: str) -> None:
    changed = GOOD[:place] + character + GOOD[place + 1 :]
    assert is_accepted(changed) == (changed == GOOD)


@given(st.dictionaries(_NAMES, _VALUES, max_size=3))
def test_any_claims_with_a_good_signature_are_accepted_or_refused(changes: dict[str, Any]) -> None:
    is_accepted(ENTRA.signed(json.dumps({**CLAIMS, **changes}).encode()))


@given(st.dictionaries(_HEADER_NAMES, _VALUES, max_size=2))
def test_any_header_with_a_good_signature_is_accepted_or_refused(changes: dict[str, Any]) -> None:
    header = {"typ": "JWT", "alg": "RS256", "kid": ENTRA.keys[0].key_id, **changes}
    signed = f"{encoded(header)}.{encoded(CLAIMS)}"
    token = f"{signed}.{encoded(ENTRA.keys[0].sign(signed.encode()))}"
    if is_accepted(token):
        assert (header["alg"], header["typ"], header["kid"]) == ("RS256", "JWT", ENTRA.keys[0].key_id)
        assert header.keys().isdisjoint({"crit", "jku", "jwk", "x5c"})


@given(st.binary(max_size=200))
def test_any_bytes_as_claims_are_refused(claims: bytes) -> None:
    assert not is_accepted(ENTRA.signed(claims or b"{}"))
