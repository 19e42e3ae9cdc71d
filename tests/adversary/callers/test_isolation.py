"""Whatever two tenants do, by keys and by tokens, nothing of one appears in the other's answers, headers included."""

from __future__ import annotations

import asyncio
import io
import json
import re
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from local.emulators.entra import EmulatedEntra
from local.emulators.entra_objects import Application, Person
from shared.domain.identity.role import OPERATOR_ROLES, Role
from shared.http.operation_table import OPERATIONS
from tests.tools.entra import running_entra, settings_of
from tests.tools.sounds import wav
from tests.tools.stack import API_VERSION, MODELS, Stack, running_stack

CHAT = "/openai/deployments/gpt-4o/chat/completions"
DATED = f"?api-version={API_VERSION}"


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one request."""

    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return f"{self.headers} {self.body.decode(errors='replace')}"

    @property
    def json(self) -> Any:
        return json.loads(self.body)


@dataclass(slots=True, kw_only=True)
class Party:
    """A tenant of a pair, and everything that only it may see."""

    marker: str
    key: str
    credentials: tuple[dict[str, str], ...]
    """Headers by which it calls: its key, and the tokens of those whom it names."""
    administrator: dict[str, str]
    """Headers of its administrator."""
    quota: int | None
    per_minute: int | None
    has_aliases: bool
    own: set[str] = field(default_factory=set)
    """Texts that identify it or its objects."""
    responses: list[str] = field(default_factory=list)
    rids: list[str] = field(default_factory=list)
    """Its entries, as it has seen them."""
    users: set[str] = field(default_factory=set)
    attempts: int = 0

    @property
    def tenant(self) -> str:
        return f"t-{self.marker}"

    @property
    def key_id(self) -> str:
        return self.key.split("_")[1]

    @property
    def deployment(self) -> str:
        return f"d-{self.marker}"


@dataclass(slots=True)
class World:
    """A gateway and an identity provider, with a pair of tenants."""

    stack: Stack
    entra: EmulatedEntra
    both: Person = field(default_factory=Person)
    """A person who belongs to both tenants."""
    called: set[tuple[str, str]] = field(default_factory=set)
    """Methods and paths of all calls."""

    async def call(
        self, method: str, path: str, credential: dict[str, str], body: Any = None, **headers: str
    ) -> Answer:
        """Send a request, with a form or with JSON."""
        self.called.add((method, path.partition("?")[0]))
        sent = {**credential, **{name.replace("_", "-"): text for name, text in headers.items()}}
        sending: dict[str, Any] = {"data" if isinstance(body, aiohttp.FormData) else "json": body}
        async with self.stack.session.request(method, self.stack.url + path, headers=sent, **sending) as response:
            named = {name.lower(): value for name, value in response.headers.items()}
            return Answer(response.status, named, await response.read())

    async def register(self, shape: Shape) -> Party:
        """Register a tenant all of whose settings have its marker."""
        marker = secrets.token_hex(6)
        application, person, administrator = Application(), Person(), Person()
        party = Party(
            marker=marker,
            key="",
            credentials=(),
            administrator=self.bearer(administrator),
            quota=shape.quota,
            per_minute=shape.per_minute,
            has_aliases=shape.has_aliases,
        )
        backend = {"backends": ["se-gpt-4o"]}
        await self.stack.manage("PUT", f"/manage/deployments/{party.deployment}", backend)
        principals = [
            ("application", application.client_id, "tenant.use"), ("person", person.object_id, "tenant.use"),
            ("person", administrator.object_id, "tenant.admin"), ("person", self.both.object_id, "tenant.use"),
        ]  # fmt: skip
        named = [
            {"directory_id": self.entra.directory_id, "kind": kind, "id": id_, "role": role}
            for kind, id_, role in principals
        ]
        party.key = await self.stack.register(
            party.tenant, name=f"Name {marker}", cost_center=f"CC-{marker}", contact=f"{marker}@x.example",
            deployments=[*MODELS, party.deployment], tags={marker: marker}, entra_principals=named,
            monthly_quota_tokens=shape.quota, requests_per_minute=shape.per_minute, pools={"gpt-4o": ["se-gpt-4o"]},
            pseudonymise_users=shape.has_aliases,
        )  # fmt: skip
        party.credentials = (
            {"api-key": party.key}, {"Authorization": f"Bearer {party.key}"}, self.bearer(application),
            self.bearer(person), {**self.bearer(self.both), "x-gateway-tenant": party.tenant},
        )  # fmt: skip
        of_two = self.both.object_id
        party.own |= {marker, application.client_id, person.object_id, administrator.object_id} - {of_two}
        return party

    def bearer(self, caller: Application | Person) -> dict[str, str]:
        client = self.entra.applications[0]
        return {"Authorization": f"Bearer {self.entra.token_of(caller, client)}"}


@dataclass(frozen=True, slots=True)
class Shape:
    """The settings of a tenant that its answers show."""

    quota: int | None
    per_minute: int | None
    has_aliases: bool = False


TENANT_LISTS = ("/entries", "/keys", "/alerts", "/alerts/sinks")
Act = Callable[[World, Party, Party, dict[str, str]], Awaitable[list[Answer]]]


async def chat(world: World, me: Party, _: Party, by: dict[str, str]) -> list[Answer]:
    """Send chats whose prompt and user have the marker: of both paths, streamed, and of the own deployment."""
    user = f"u-{me.marker}-{secrets.token_hex(3)}"
    body = {"messages": [{"role": "user", "content": f"Say {me.marker}"}], "user": user, "max_tokens": 9}
    v1 = {**body, "model": me.deployment, "stream": True}
    answers = [
        await world.call("POST", CHAT + DATED, by, body),
        await world.call("POST", "/openai/v1/chat/completions", by, v1, x_gateway_user=user),
    ]
    me.users.add(user)
    me.attempts += sum(answer.status == 200 for answer in answers)
    return answers


async def respond(world: World, me: Party, _: Party, by: dict[str, str]) -> list[Answer]:
    """Create a response, read it, list its input, and follow it."""
    body = {"model": "gpt-4o", "input": f"Say {me.marker}", "max_output_tokens": 20}
    created = await world.call("POST", "/openai/v1/responses", by, body)
    answers = [created]
    if created.status == 200:
        id_ = created.json["id"]
        me.responses.append(id_)
        me.own.add(id_)
        answers += [
            await world.call("GET", f"/openai/v1/responses/{id_}", by),
            await world.call("GET", f"/openai/v1/responses/{id_}/input_items", by),
            await world.call("POST", "/openai/v1/responses", by, {**body, "previous_response_id": id_}),
        ]
        me.attempts += 1 + (answers[-1].status == 200)
    return answers


async def forget_response(world: World, me: Party, _: Party, by: dict[str, str]) -> list[Answer]:
    """Create a response on the dated path, try to cancel it, and delete it, on both paths."""
    answers = []
    for path, query in (("/openai/responses", DATED), ("/openai/v1/responses", "")):
        body = {"model": "gpt-4o", "input": f"Say {me.marker}", "max_output_tokens": 20}
        created = await world.call("POST", path + query, by, body)
        answers.append(created)
        if created.status == 200:
            me.attempts += 1
            id_ = created.json["id"]
            me.own.add(id_)
            calls = [("GET", ""), ("GET", "/input_items"), ("POST", "/cancel"), ("DELETE", ""), ("GET", "")]
            answers += [await world.call(method, f"{path}/{id_}{end}{query}", by) for method, end in calls]
    return answers


async def use_models(world: World, me: Party, _: Party, by: dict[str, str]) -> list[Answer]:
    """Call every other model with a text that has the marker, on both paths."""

    def sound() -> aiohttp.FormData:
        form = aiohttp.FormData()
        form.add_field("prompt", me.marker)
        form.add_field("file", io.BytesIO(wav(1.0)), filename=f"{me.marker}.wav", content_type="audio/wav")
        return form

    answers = []
    for operation, model, body in (
        ("completions", "gpt-35-turbo-instruct", {"prompt": me.marker, "max_tokens": 9}),
        ("embeddings", "text-embedding-3-small", {"input": me.marker}),
        ("images/generations", "dall-e-3", {"prompt": me.marker}),
        ("audio/speech", "tts-hd", {"input": me.marker, "voice": "alloy"}),
        ("audio/transcriptions", "whisper", None),
        ("audio/translations", "whisper", None),
    ):
        dated, v1 = body or sound(), {**body, "model": model} if body else sound()
        if isinstance(v1, aiohttp.FormData):
            v1.add_field("model", model)
        answers.append(await world.call("POST", f"/openai/deployments/{model}/{operation}{DATED}", by, dated))
        answers.append(await world.call("POST", f"/openai/v1/{operation}", by, v1))
    me.attempts += sum(answer.status == 200 for answer in answers)
    return answers


async def look(world: World, me: Party, _: Party, by: dict[str, str]) -> list[Answer]:
    """Read all that a tenant may read of itself."""
    own = f"/manage/tenants/{me.tenant}"
    admin = me.administrator
    await world.stack.settled()
    answers = [
        await world.call("GET", "/openai/v1/models", by),
        await world.call("GET", f"/openai/models{DATED}", by),
        await world.call("GET", f"/openai/v1/models/{me.deployment}", by),
        *[await world.call("GET", path, by) for path in ("/me", "/me/usage?group_by=deployment,user,day")],
        *[await world.call("GET", path, by) for path in ("/me/entries", "/me/alerts")],
        *[await world.call("GET", own + path, admin) for path in (*TENANT_LISTS, "/usage?group_by=user")],
        await world.call("GET", f"{own}/alerts/sinks/ops", admin),
    ]
    entries = await world.call("GET", "/me/entries", by)
    me.rids = [each["rid"] for each in entries.json["data"] if "rid" in each][:3]
    me.own |= {*me.rids}
    for rid in me.rids or ["nothing"]:
        answers.append(await world.call("GET", f"/me/entries/{rid}/proof", by))
        answers.append(await world.call("GET", f"{own}/entries/{rid}/proof", admin))
    return [*answers, entries]


async def find_person(world: World, me: Party, _: Party, __: dict[str, str]) -> list[Answer]:
    """Look up the alias of a user, and erase it."""
    own, user = f"/manage/tenants/{me.tenant}/users", min(me.users, default="nobody")
    found = await world.call("POST", f"{own}/lookup", me.administrator, {"user": user})
    if found.status == 200:
        me.own |= {*found.json["aliases"]}
    return [found, await world.call("POST", f"{own}/erase", me.administrator, {"user": user, "reason": "asked"})]


async def make_key(world: World, me: Party, _: Party, __: dict[str, str]) -> list[Answer]:
    """Create a key, use it, change it, rotate it, and revoke it."""
    keys = f"/manage/tenants/{me.tenant}/keys"
    created = await world.call("POST", keys, me.administrator, {"scope": "usage.read"})
    key, key_id = created.json["key"], created.json["key_id"]
    answers = [
        created,
        *[await world.call("GET", path, {"api-key": key}) for path in ("/me", "/me/usage", "/me/entries")],
        await world.call("GET", f"{keys}/{key_id}", me.administrator),
        await world.call("PATCH", f"{keys}/{key_id}", me.administrator, {"label": me.marker}),
        rotated := await world.call("POST", f"{keys}/{key_id}/rotate", me.administrator, {}),
        await world.call("DELETE", f"{keys}/{key_id}", me.administrator),
        await world.call("GET", "/me", {"api-key": key}),
    ]
    me.own |= {key_id, rotated.json["key_id"]}
    return answers


async def intrude(world: World, me: Party, other: Party, by: dict[str, str]) -> list[Answer]:
    """Ask for the objects of the other tenant. Each answer is that for objects which do not exist."""
    nothing = Party(
        marker=secrets.token_hex(6), key="", credentials=(), administrator={}, quota=None, per_minute=None,
        has_aliases=False,
    )  # fmt: skip
    nothing.key = f"tg_{nothing.tenant}-00000000_x"
    nothing.rids = [secrets.token_hex(16) for _ in other.rids]
    nothing.users = {secrets.token_hex(6) for _ in other.users}
    nothing.responses = [id_[:-12] + secrets.token_hex(6) for id_ in other.responses]
    foreign = await intrusions(world, me, other, by)
    missing = await intrusions(world, me, nothing, by)
    names = {
        other.key_id: nothing.key_id,
        other.marker: nothing.marker,
        **dict(zip(other.responses, nothing.responses, strict=True)),
    }
    for found, expected in zip(foreign, missing, strict=True):
        assert outline(found, names) == outline(expected, {}), (found, expected)
    return missing


async def intrusions(world: World, me: Party, victim: Party, by: dict[str, str]) -> list[Answer]:
    """Ask for every object of a victim by its name."""
    admin, theirs = me.administrator, f"/manage/tenants/{victim.tenant}"
    body = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 9}
    unmarked = {name: text for name, text in by.items() if name != "x-gateway-tenant"}
    mine = f"/manage/tenants/{me.tenant}"
    user = {"user": min(victim.users, default="nobody")}
    key = f"/keys/{victim.key_id}"
    answers = [
        await world.call("GET", f"/openai/v1/models/{victim.deployment}", by),
        await world.call("POST", "/openai/v1/chat/completions", by, {**body, "model": victim.deployment}),
        await world.call("POST", f"/openai/deployments/{victim.deployment}/embeddings{DATED}", by, {"input": "Hi"}),
        *[await world.call("GET", theirs + path, admin) for path in ("", "/usage", *TENANT_LISTS, "/alerts/sinks/ops")],
        await world.call("POST", f"{theirs}/keys", admin, {}),
        await world.call("POST", f"{theirs}/users/lookup", admin, user),
        await world.call("POST", f"{theirs}/users/erase", admin, user),
    ]
    for tenant in (mine, theirs):
        answers += [
            await world.call("GET", tenant + key, admin),
            await world.call("PATCH", tenant + key, admin, {"label": "mine"}),
            await world.call("POST", f"{tenant}{key}/rotate", admin, {}),
            await world.call("DELETE", tenant + key, admin),
            *[await world.call("GET", f"{tenant}/entries/{rid}/proof", admin) for rid in victim.rids],
        ]
    answers += [await world.call("GET", f"/me/entries/{rid}/proof", by) for rid in victim.rids]
    if by is not me.credentials[-1]:  # its caller belongs to both
        answers += [await world.call("GET", theirs + path, by) for path in ("", "/usage", *TENANT_LISTS)]
        answers += [
            await world.call("GET", path, unmarked, x_gateway_tenant=victim.tenant)
            for path in ("/me", "/me/usage", "/me/entries", "/me/alerts", "/openai/v1/models")
        ]
    for id_ in victim.responses:
        follow = {"model": "gpt-4o", "input": "Hi", "previous_response_id": id_}
        answers += [
            await world.call("GET", f"/openai/v1/responses/{id_}", by),
            await world.call("GET", f"/openai/v1/responses/{id_}/input_items", by),
            await world.call("POST", f"/openai/v1/responses/{id_}/cancel", by),
            await world.call("DELETE", f"/openai/v1/responses/{id_}", by),
            await world.call("POST", "/openai/v1/responses", by, follow),
        ]
    return answers


_CHANGING = re.compile(r"[0-9a-f]{32}|\d+(\.\d+)?m?s\b")
_CHANGING_HEADERS = {"date", "x-gateway-request-id", "content-length"}


def outline(answer: Answer, names: dict[str, str]) -> tuple[int, dict[str, str], str]:
    """Return an answer without what changes from request to request, and with other names."""
    headers = {
        name: text
        for name, text in answer.headers.items()
        if name not in _CHANGING_HEADERS and not name.startswith(("x-ratelimit-", "retry-after"))
    }
    text = answer.body.decode()
    for old, new in names.items():
        text = text.replace(old, new)
    return answer.status, headers, _CHANGING.sub("", text)


ACTS: dict[str, Act] = {
    each.__name__: each for each in (chat, use_models, respond, forget_response, look, make_key, find_person, intrude)
}
SHAPES = st.builds(Shape, st.none() | st.integers(0, 3_000), st.none() | st.integers(1, 40), st.booleans())
STEPS = st.lists(st.tuples(st.booleans(), st.sampled_from(sorted(ACTS)), st.integers(0, 4)), min_size=3, max_size=10)


EVERYTHING = [(is_first, name, number) for number, name in enumerate(ACTS) for is_first in (True, False)]
"""Everything that a tenant can do, done by both tenants."""


def uncalled(world: World) -> list[str]:
    """Return the operations that a tenant's caller may call and that nobody called."""
    of_tenants = {*Role} - OPERATOR_ROLES - {Role.ANYONE}
    found = []
    for operation in OPERATIONS:
        path = re.compile(re.sub(r"\{\w+\}", "[^/]+", operation.path))
        if of_tenants & {*operation.roles} and not any(
            method == operation.method and path.fullmatch(called) for method, called in world.called
        ):
            found.append(f"{operation.method} {operation.path}")
    return found


async def run(world: World, shapes: tuple[Shape, Shape], steps: list[tuple[bool, str, int]]) -> None:
    """Have a new pair of tenants act in turn. Fail if an answer shows anything of the other."""
    first, second = [await world.register(shape) for shape in shapes]
    for is_first, name, credential in [*steps, (True, "look", 0), (False, "look", 2)]:
        me, other = (first, second) if is_first else (second, first)
        for answer in await ACTS[name](world, me, other, me.credentials[credential % len(me.credentials)]):
            shown = [text for text in other.own if text in answer.text]
            assert shown == [], (name, answer)
            assert answer.status < 500, (name, answer)
            check_limits(me, answer)
    await world.stack.settled()
    for party in (first, second):
        await check_books(world, party)


def check_limits(me: Party, answer: Answer) -> None:
    """The limits that an answer tells are those of its own tenant."""
    limit = answer.headers.get("x-ratelimit-limit-requests")
    assert limit is None or limit == str(me.per_minute)
    left = answer.headers.get("x-gateway-quota-remaining-tokens")
    assert left is None or (me.quota is not None and int(left) <= me.quota)


async def check_books(world: World, party: Party) -> None:
    """A tenant's usage and entries are those of its own calls, and no more."""
    usage = (await world.call("GET", "/me/usage?group_by=user", party.credentials[0])).json
    entries = await world.stack.every_entry(party.tenant)
    calls = [each for each in entries if each.get("status") == 200]
    assert len(calls) == party.attempts
    assert usage["tokens_used"] == sum(each["tokens"] for each in calls)
    stated = {each["user"] for each in calls if each["user"].count("-") == 2 and each["user"].startswith("u-")}
    assert stated <= (set() if party.has_aliases else party.users)


def test_nothing_of_one_tenant_appears_in_the_answers_of_another(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    with asyncio.Runner() as runner:
        entering = running_entra(monkeypatch, tmp_path)
        entra = runner.run(entering.__aenter__())
        own = {"TALLYGATE_STORAGE": "memory", **settings_of(entra)}
        starting = running_stack(monkeypatch, tmp_path, own)
        world = World(runner.run(starting.__aenter__()), entra)

        @settings(max_examples=25, phases=[Phase.generate])
        @given(shapes=st.tuples(SHAPES, SHAPES), steps=STEPS)
        def pairs(shapes: tuple[Shape, Shape], steps: list[tuple[bool, str, int]]) -> None:
            runner.run(run(world, shapes, steps))

        try:
            runner.run(run(world, (Shape(None, None, has_aliases=True),) * 2, EVERYTHING))
            assert uncalled(world) == []
            pairs()
        finally:
            runner.run(starting.__aexit__(None, None, None))
            runner.run(entering.__aexit__(None, None, None))
