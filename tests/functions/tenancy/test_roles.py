"""Callers of access tokens may do what their roles and the documents of tenants permit, and nothing else."""

from __future__ import annotations

import pytest

from shared.domain.identity.role import Role
from tests.tools.known_tokens import KnownTokens, application_claims, person_claims
from tests.tools.stack import Stack


@pytest.fixture
async def tokens(stack: Stack) -> KnownTokens:
    """The identity provider of the gateway."""
    known = KnownTokens()
    (await stack.gateway()).tenancy.authenticate._tokens = known
    return known


async def call(stack: Stack, path: str, token: str) -> tuple[int, str]:
    """Send a request with a token. Returns the status and the error's code."""
    async with stack.session.get(stack.url + path, headers={"Authorization": f"Bearer {token}"}) as response:
        answer = await response.json()
        return response.status, answer.get("error", {}).get("code", "")


async def test_a_person_or_application_with_the_role_administers(stack: Stack, tokens: KnownTokens) -> None:
    roles = frozenset({"Gateway.Admin", "Some.Other"})
    for claims in (person_claims(roles=roles), application_claims(roles=roles)):
        token = tokens.issue(claims)
        assert await call(stack, "/manage/tenants", token) == (200, "")
        assert await call(stack, "/me", token) == (403, "insufficient_role")


async def test_a_token_without_the_role_is_refused(stack: Stack, tokens: KnownTokens) -> None:
    for roles in (frozenset[str](), frozenset({Role.USE.value})):
        token = tokens.issue(person_claims(roles=roles))
        for path in ("/manage/tenants", "/me"):
            assert await call(stack, path, token) == (403, "insufficient_role")
