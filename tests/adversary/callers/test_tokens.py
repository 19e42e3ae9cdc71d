"""Forged, broken and stolen access tokens open nothing, cost little, and leave no trace of themselves."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from typing import Any

import pytest
import pytest_asyncio

from local.emulators.entra import EmulatedEntra
from local.emulators.entra_objects import SigningKey
from tests.adversary.callers.hostile_tokens import HOSTILE_TOKENS, WITHOUT_FORM, Forgery
from tests.adversary.conftest import Lines
from tests.tools.entra import running_entra, settings_of
from tests.tools.forger import Forger
from tests.tools.stack import Stack, running_stack

pytestmark = pytest.mark.asyncio(loop_scope="module")
PATHS = ("/manage/tenants", "/openai/v1/models", "/me")


@pytest.fixture(scope="module")
def patched() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def entra(patched: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[EmulatedEntra]:
    async with running_entra(patched, tmp_path_factory.mktemp("entra")) as running:
        yield running


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def stack(
    entra: EmulatedEntra, patched: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> AsyncIterator[Stack]:
    """One gateway for all tokens of this module."""
    settings = {"TALLYGATE_STORAGE": "memory", **settings_of(entra)}
    async with running_stack(patched, tmp_path_factory.mktemp("host"), settings) as running:
        yield running


async def call(stack: Stack, path: str, token: str) -> tuple[int, dict[str, str], Any]:
    async with stack.session.get(stack.url + path, headers={"Authorization": f"Bearer {token}"}) as response:
        return response.status, dict(response.headers), await response.json()


async def test_the_token_of_which_all_others_are_forged_is_accepted(stack: Stack, entra: EmulatedEntra) -> None:
    assert (await call(stack, "/manage/tenants", Forger(entra).good))[0] == 200
    assert sum(map(len, HOSTILE_TOKENS.values())) >= 140


@pytest.mark.parametrize(
    ("problem", "forge"),
    [
        pytest.param(problem, forge, id=name)
        for problem, forgeries in HOSTILE_TOKENS.items()
        for name, forge in forgeries.items()
    ],
)
async def test_a_hostile_token_is_refused_and_leaves_no_trace(
    stack: Stack, entra: EmulatedEntra, log_without_secrets: Lines, problem: str, forge: Forgery
) -> None:
    token = forge(Forger(entra))
    for path in PATHS:
        status, headers, answer = await call(stack, path, token)
        error = answer["error"]
        assert (status, error["code"]) == (401, "invalid_token")
        assert error["message"].startswith(f"The access token is not valid. {problem} (request id: ")
        assert headers["WWW-Authenticate"] == 'Bearer error="invalid_token"'
        assert not traces(token, [str(answer), str(headers), *log_without_secrets.lines])
    assert not [path for path in entra.asked if "evil" in path]


@pytest.mark.parametrize("forge", WITHOUT_FORM.values(), ids=WITHOUT_FORM)
async def test_a_credential_that_begins_unlike_a_token_is_refused_as_a_key(
    stack: Stack, entra: EmulatedEntra, log_without_secrets: Lines, forge: Forgery
) -> None:
    token = forge(Forger(entra))
    status, _, answer = await call(stack, "/manage/tenants", token)
    assert (status, answer["error"]["code"]) == (401, "invalid_api_key")
    assert not traces(token, [str(answer), *log_without_secrets.lines])


def traces(token: str, texts: list[str]) -> list[str]:
    """Return the texts that hold a part of a token, by which others could find or use it."""
    parts = [part for part in token.split(".") if len(part) > 12]
    return [text for text in texts if any(part in text for part in parts)]


async def test_a_token_is_no_key(stack: Stack, entra: EmulatedEntra, log_without_secrets: Lines) -> None:
    token = Forger(entra).good
    for headers in ({"api-key": token}, {"Authorization": f"Basic {token}"}, {"x-api-key": token}):
        async with stack.session.get(f"{stack.url}/manage/tenants", headers=headers) as response:
            assert (response.status, (await response.json())["error"]["code"]) == (401, "invalid_api_key")
    assert not traces(token, log_without_secrets.lines)


async def test_a_flood_of_unknown_keys_asks_the_provider_once_and_stops_no_caller(
    stack: Stack, entra: EmulatedEntra
) -> None:
    forger, stranger = Forger(entra), SigningKey.new()
    assert (await call(stack, "/manage/tenants", forger.good))[0] == 200
    asked = len(entra.asked)
    forged = [entra.signed(forger.claims, {"kid": f"k{number}"}, stranger) for number in range(200)]
    good = [forger.good for _ in range(20)]
    answers = await asyncio.gather(*(call(stack, "/manage/tenants", each) for each in [*forged, *good]))
    assert [status for status, _, _ in answers] == [401] * 200 + [200] * 20
    assert len(entra.asked) - asked <= 2


async def test_a_token_that_was_refused_is_judged_anew(stack: Stack, entra: EmulatedEntra) -> None:
    forger = Forger(entra)
    good = forger.good
    for _ in range(3):
        assert (await call(stack, "/manage/tenants", good + "AAAA"))[0] == 401
        assert (await call(stack, "/manage/tenants", good))[0] == 200
        assert (await call(stack, "/manage/tenants", good[:-1]))[0] == 401
