"""Whatever two tenants do, by keys and by tokens, nothing of one appears in the other's answers, headers included."""

from __future__ import annotations

import asyncio
import json
import re
import secrets
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from local.emulators.entra import EmulatedEntra
from local.emulators.entra_objects import Application, Person
from tests.tools.entra import running_entra, settings_of
from tests.tools.stack import API_VERSION, Stack, running_stack

CHAT = "/openai/deployments/gpt-4o/chat/completions"
SHARED = ("gpt-4o", "text-embedding-3-small")


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
    own: set[str] = field(default_factory=set)
    """Texts that identify it or its objects."""
    responses: list[str] = field(default_factory=list)
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

    async def call(
        self, method: str, path: str, credential: dict[str, str], body: Any = None, **headers: str
    ) -> Answer:
        sent = {**credential, **{name.replace("_", "-"): text for name, text in headers.items()}}
        async with self.stack.session.request(method, self.stack.url + path, json=body, headers=sent) as response:
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
            deployments=[*SHARED, party.deployment], tags={marker: marker}, entra_principals=named,
            monthly_quota_tokens=shape.quota, requests_per_minute=shape.per_minute, pools={"gpt-4o": ["se-gpt-4o"]},
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


Act = Callable[[World, Party, Party, dict[str, str]], Awaitable[list[Answer]]]


async def chat(world: World, me: Party, _: Party, by: dict[str, str]) -> list[Answer]:
    """Send chats whose prompt and user have the marker: of both paths, streamed, and of the own deployment."""
    user = f"u-{me.marker}-{secrets.token_hex(3)}"
    body = {"messages": [{"role": "user", "content": f"Say {me.marker}"}], "user": user, "max_tokens": 9}
    v1 = {**body, "model": me.deployment, "stream": True}
    answers = [
        await world.call("POST", f"{CHAT}?api-version={API_VERSION}", by, body),
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


async def look(world: World, me: Party, _: Party, by: dict[str, str]) -> list[Answer]:
    """Read all that a tenant may read of itself."""
    own = f"/manage/tenants/{me.tenant}"
    admin = me.administrator
    return [
        await world.call("GET", "/openai/v1/models", by),
        await world.call("GET", f"/openai/models?api-version={API_VERSION}", by),
        await world.call("GET", f"/openai/v1/models/{me.deployment}", by),
        await world.call("GET", "/me", by),
        await world.call("GET", "/me/usage?group_by=deployment,user,day", by),
        await world.call("GET", f"{own}/usage?group_by=user", admin),
        await world.call("GET", f"{own}/entries", admin),
        await world.call("GET", f"{own}/keys", admin),
    ]


async def make_key(world: World, me: Party, _: Party, __: dict[str, str]) -> list[Answer]:
    """Create a key, use it, and revoke it."""
    keys = f"/manage/tenants/{me.tenant}/keys"
    created = await world.call("POST", keys, me.administrator, {})
    document = created.json
    me.own.add(document["key_id"])
    used = await world.call("GET", "/me", {"api-key": document["key"]})
    revoked = await world.call("DELETE", f"{keys}/{document['key_id']}", me.administrator)
    return [created, used, revoked, await world.call("GET", "/me", {"api-key": document["key"]})]


async def intrude(world: World, me: Party, other: Party, by: dict[str, str]) -> list[Answer]:
    """Ask for the objects of the other tenant. Each answer is that for objects which do not exist."""
    nothing = Party(marker=secrets.token_hex(6), key="", credentials=(), administrator={}, quota=None, per_minute=None)
    nothing.key = f"tg_{nothing.tenant}-00000000_x"
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
    answers = [
        await world.call("GET", f"/openai/v1/models/{victim.deployment}", by),
        await world.call("POST", "/openai/v1/chat/completions", by, {**body, "model": victim.deployment}),
        *[await world.call("GET", theirs + path, admin) for path in ("", "/usage", "/entries", "/keys")],
        await world.call("POST", f"{theirs}/keys", admin, {}),
        await world.call("DELETE", f"/manage/tenants/{me.tenant}/keys/{victim.key_id}", admin),
    ]
    if by is not me.credentials[-1]:  # its caller belongs to both
        answers += [await world.call("GET", theirs + path, by) for path in ("", "/usage", "/entries", "/keys")]
        answers += [
            await world.call("GET", path, unmarked, x_gateway_tenant=victim.tenant)
            for path in ("/me", "/me/usage", "/openai/v1/models")
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


ACTS: dict[str, Act] = {"chat": chat, "respond": respond, "look": look, "make_key": make_key, "intrude": intrude}
SHAPES = st.builds(Shape, st.none() | st.integers(0, 3_000), st.none() | st.integers(1, 40))
STEPS = st.lists(st.tuples(st.booleans(), st.sampled_from(sorted(ACTS)), st.integers(0, 4)), min_size=3, max_size=10)


async def run(world: World, shapes: tuple[Shape, Shape], steps: list[tuple[bool, str, int]]) -> None:
    """Have a new pair of tenants act in turn. Fail if an answer shows anything of the other."""
    first, second = [await world.register(shape) for shape in shapes]
    for is_first, name, credential in [*steps, (True, "look", 0), (False, "look", 2)]:
        me, other = (first, second) if is_first else (second, first)
        for answer in await ACTS[name](world, me, other, me.credentials[credential]):
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
    assert {each["user"] for each in calls if each["user"].startswith("u-")} <= party.users


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
            pairs()
        finally:
            runner.run(starting.__aexit__(None, None, None))
            runner.run(entering.__aexit__(None, None, None))
