"""Claims of access tokens: what is accepted, and what is taken from it. Forged tokens: tests/adversary/callers."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from shared.domain.errors import InvalidToken
from shared.domain.identity.access_token import AccessTokenClaims
from shared.domain.identity.authority import authority_of
from shared.domain.identity.token_rules import TokenRules, accepted_claims

DIRECTORY, GATEWAY, CLIENT, OBJECT, PARTNER = (f"{digit * 8}-1111-4111-8111-111111111111" for digit in "12345")
NOW = 1_790_000_000
AUTHORITY = authority_of("https://login.microsoftonline.com")
assert AUTHORITY is not None
RULES = TokenRules(
    authority=AUTHORITY,
    directory_ids=frozenset({DIRECTORY, PARTNER}),
    home_directory_id=DIRECTORY,
    audiences=frozenset({GATEWAY, f"api://{GATEWAY}"}),
    scopes=frozenset({"user_impersonation", "Chat.Use"}),
)


def v2(**changes: Any) -> dict[str, Any]:
    """Return the claims of an application's token of version 2. `None` leaves a claim out."""
    claims = {
        "aud": GATEWAY, "iss": f"https://login.microsoftonline.com/{DIRECTORY}/v2.0", "tid": DIRECTORY, "oid": OBJECT,
        "sub": OBJECT, "azp": CLIENT, "ver": "2.0", "nbf": NOW - 300, "iat": NOW - 300, "exp": NOW + 3600,
    }  # fmt: skip
    return {name: value for name, value in {**claims, **changes}.items() if value is not None}


def v1(**changes: Any) -> dict[str, Any]:
    of_version = {"iss": f"https://sts.windows.net/{DIRECTORY}/", "ver": "1.0", "azp": None, "appid": CLIENT}
    return v2(**{"aud": f"api://{GATEWAY}", **of_version, **changes})


def accepted(claims: dict[str, Any]) -> AccessTokenClaims:
    return accepted_claims(claims, RULES, NOW)


def test_facts_are_taken_from_tokens_of_both_versions() -> None:
    expected = AccessTokenClaims(
        directory_id=DIRECTORY,
        object_id=OBJECT,
        application_id=CLIENT,
        is_person=False,
        expires_at=datetime.fromtimestamp(NOW + 3600, UTC),
    )
    assert accepted(v2()) == accepted(v1()) == expected


def test_a_version_1_token_names_the_gateway_by_the_form_that_was_asked_for() -> None:
    assert accepted(v1(aud=GATEWAY)) == accepted(v1(aud=f"api://{GATEWAY}"))


def test_another_directory_cannot_give_roles_of_the_gateway() -> None:
    roles = ["Gateway.Admin", "Gateway.Billing.Read", "Gateway.Audit.Read", "Gateway.Use"]
    assert accepted(v2(roles=roles)).roles == frozenset(roles)
    foreign = v2(roles=roles, groups=["g"], tid=PARTNER, iss=f"https://login.microsoftonline.com/{PARTNER}/v2.0")
    assert (accepted(foreign).roles, accepted(foreign).groups) == (frozenset({"Gateway.Use"}), frozenset({"g"}))


@pytest.mark.parametrize("name", ["ver", "sub", "nbf", "iat"])
def test_a_claim_that_entra_may_leave_out_is_not_required(name: str) -> None:
    assert accepted(v2(**{name: None})) == accepted(v2())


@pytest.mark.parametrize("scp", ["Chat.Use", "profile user_impersonation"])
def test_a_person_has_one_of_the_scopes(scp: str) -> None:
    assert accepted(v2(scp=scp, sub="pairwise")).is_person


@pytest.mark.parametrize(
    "times",
    [{"exp": NOW - 59}, {"nbf": NOW + 60, "iat": NOW + 60}, {"nbf": NOW - 300, "exp": NOW - 300 + 29 * 3600}],
    ids=["just expired", "not quite valid", "as long as can be"],
)
def test_clocks_may_differ_by_a_minute(times: dict[str, int]) -> None:
    assert accepted(v2(**times)).object_id == OBJECT


@pytest.mark.parametrize(
    ("times", "problem"),
    [
        ({"exp": NOW - 60}, "expired"),
        ({"nbf": NOW + 61}, "not valid yet"),
        ({"iat": NOW + 61}, "not valid yet"),
        ({"nbf": None, "exp": NOW + 29 * 3600 + 1}, "longer time"),
        ({"nbf": NOW - 29 * 3600, "exp": NOW + 1}, "longer time"),
    ],
)
def test_a_token_beyond_its_time_is_refused(times: dict[str, int | None], problem: str) -> None:
    with pytest.raises(InvalidToken, match=problem):
        accepted(v2(**times))


def test_a_message_names_the_claim_and_shows_no_value() -> None:
    with pytest.raises(InvalidToken) as refusal:
        accepted(v2(oid="not-a-guid"))
    assert str(refusal.value) == "The access token is not valid. Its claim 'oid' is missing or malformed."
