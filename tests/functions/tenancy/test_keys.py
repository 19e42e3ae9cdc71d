"""Keys of a tenant: their settings, their last use, their rotation, and what they may call."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from shared.application.tenancy.manage_keys import MAX_KEYS_IN_FORCE, MAX_STORED_KEYS
from shared.application.tenancy.principals import TenantPrincipal
from shared.composition.gateway import Gateway, build
from shared.domain.errors import InvalidApiKey, StorageUnavailable
from shared.domain.tenancy.keys import new_gateway_key
from shared.settings import read_settings
from tests.tools.events import told
from tests.tools.stack import ADMIN_KEY, API_VERSION, Stack

OFFICE, HOME = "203.0.113.7", "198.51.100.9"


def path_of(stack: Stack, key: dict[str, Any] | None = None) -> str:
    return f"/manage/tenants/{stack.tenant}/keys" + (f"/{key['key_id']}" if key else "")


async def create(stack: Stack, **settings: Any) -> dict[str, Any]:
    created: dict[str, Any] = await stack.manage("POST", path_of(stack), settings)
    return created


async def documents_of(stack: Stack) -> Any:
    directory: Any = (await stack.gateway()).tenancy.tenants._tenants
    return directory._documents


async def call(stack: Stack, key: str, path: str, method: str = "GET", **headers: str) -> tuple[int, Any]:
    async with stack.session.request(method, stack.url + path, headers={"api-key": key, **headers}) as response:
        return response.status, await response.json()


async def test_a_key_shows_its_settings_and_never_its_hash(stack: Stack) -> None:
    settings = {
        "label": "batch jobs", "owner": "ann@example.com", "expires_at": "2030-01-01T00:00:00Z", "scope": "use",
        "deployments": ["gpt-4o"], "address_ranges": ["127.0.0.0/8"],
    }  # fmt: skip
    created = await create(stack, **settings)
    assert {name: created[name] for name in settings} == settings
    shown = await stack.manage("GET", path_of(stack, created))
    listed = await stack.manage("GET", path_of(stack))
    assert shown == next(each for each in listed["data"] if each["key_id"] == created["key_id"])
    assert shown == {
        **settings, "key_id": created["key_id"], "created_by": "admin-key", "created_at": created["created_at"],
        "revoked_at": None, "state": "active", "last_used_at": None, "replaces": "", "replaced_by": "",
    }  # fmt: skip
    assert "sha256" not in str(listed)


async def test_a_plain_key_has_no_settings(stack: Stack) -> None:
    created = await create(stack)
    plain: dict[str, Any] = {
        "label": "",
        "owner": "",
        "expires_at": None,
        "scope": "use",
        "deployments": None,
        "address_ranges": [],
    }
    assert {name: created[name] for name in plain} == plain


@pytest.mark.parametrize(
    ("settings", "param"),
    [
        ({"label": None}, "label"),
        ({"owner": "x" * 257}, "owner"),
        ({"scope": "admin"}, "scope"),
        ({"scope": None}, "scope"),
        ({"deployments": []}, "deployments"),
        ({"deployments": ["gpt-5"]}, "deployments"),
        ({"address_ranges": None}, "address_ranges"),
        ({"address_ranges": ["203.0.113.7/24"]}, "address_ranges.0"),
        ({"address_ranges": ["10.0.0.0/8"] * 101}, "address_ranges"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"replaces": "x"}, "replaces"),
        ({"secret_sha256": "x"}, "secret_sha256"),
        ({"created_by": "x"}, "created_by"),
    ],
)
async def test_settings_that_no_key_can_have_are_refused_by_name(stack: Stack, settings: Any, param: str) -> None:
    created = await create(stack)
    for method, path in (("POST", path_of(stack)), ("PATCH", path_of(stack, created))):
        refused = await stack.manage(method, path, settings, status=400)
        assert (refused["error"]["code"], refused["error"]["param"]) == ("invalid_request", param)
    assert len((await stack.manage("GET", path_of(stack)))["data"]) == 2


async def test_a_key_is_changed_by_the_fields_that_are_sent(stack: Stack) -> None:
    created = await create(stack, label="old", owner="ann", deployments=["gpt-4o"])
    changed = await stack.manage("PATCH", path_of(stack, created), {"label": "new", "deployments": None})
    assert (changed["label"], changed["owner"], changed["deployments"]) == ("new", "ann", None)
    assert await stack.manage("PATCH", path_of(stack, created), {}) == changed
    ranges = ["10.0.0.0/8", "10.1.2.3", "10.0.0.0/8"]
    changed = await stack.manage("PATCH", path_of(stack, created), {"address_ranges": ranges})
    assert changed["address_ranges"] == ["10.0.0.0/8", "10.1.2.3/32"]


async def test_a_change_of_a_stale_version_of_a_key_is_refused(stack: Stack) -> None:
    created = await create(stack)
    async with stack.session.get(stack.url + path_of(stack, created), headers={"api-key": ADMIN_KEY}) as response:
        etag = response.headers["ETag"]
    await stack.manage("PATCH", path_of(stack, created), {"label": "first"}, if_match=etag)
    await stack.manage("PATCH", path_of(stack, created), {"label": "second"}, if_match=etag, status=412)
    assert (await stack.manage("GET", path_of(stack, created)))["label"] == "first"


async def test_a_revoked_key_stays_as_it_is(stack: Stack) -> None:
    created = await create(stack, label="old")
    await stack.manage("DELETE", path_of(stack, created))
    revoked = await stack.manage("GET", path_of(stack, created))
    assert revoked["state"] == "revoked"
    refused = await stack.manage("PATCH", path_of(stack, created), {"label": "new"}, status=409)
    assert refused["error"]["code"] == "key_ended"
    refused = await stack.manage("POST", path_of(stack, created) + "/rotate", {}, status=409)
    assert refused["error"]["code"] == "key_ended"
    await stack.manage("DELETE", path_of(stack, created))
    assert await stack.manage("GET", path_of(stack, created)) == revoked


async def test_changes_of_a_key_that_race_are_both_kept(stack: Stack) -> None:
    created, documents = await create(stack), await documents_of(stack)
    replace, raced = documents.replace, list[bool]()

    async def lose_once(*arguments: Any) -> Any:
        if not raced:
            raced.append(True)
            await stack.manage("PATCH", path_of(stack, created), {"owner": "other"})
        return await replace(*arguments)

    documents.replace = lose_once
    changed = await stack.manage("PATCH", path_of(stack, created), {"label": "mine"})
    assert (changed["label"], changed["owner"]) == ("mine", "other")


async def test_a_revocation_that_races_with_a_change_wins(stack: Stack) -> None:
    created, documents = await create(stack), await documents_of(stack)
    replace, raced = documents.replace, list[bool]()

    async def lose_once(*arguments: Any) -> Any:
        if not raced:
            raced.append(True)
            await stack.manage("DELETE", path_of(stack, created))
        return await replace(*arguments)

    documents.replace = lose_once
    await stack.manage("PATCH", path_of(stack, created), {"label": "mine"}, status=409)
    assert (await stack.manage("GET", path_of(stack, created)))["state"] == "revoked"


async def test_a_key_that_is_used_shows_the_hour(stack: Stack) -> None:
    created = await create(stack)
    began = datetime.now(UTC).replace(minute=0, second=0, microsecond=0)
    assert (await stack.chat(key=created["key"]))[0] == 200
    await stack.settled()
    shown = await stack.manage("GET", path_of(stack, created))
    used_at = datetime.fromisoformat(shown["last_used_at"])
    assert began <= used_at <= datetime.now(UTC)
    assert (used_at.minute, used_at.second, used_at.microsecond) == (0, 0, 0)
    listed = {each["key_id"]: each["last_used_at"] for each in (await stack.manage("GET", path_of(stack)))["data"]}
    assert listed[created["key_id"]] == shown["last_used_at"]


async def test_a_use_that_cannot_be_stored_harms_no_request(stack: Stack) -> None:
    created, documents = await create(stack), await documents_of(stack)
    insert = documents.insert

    async def insert_no_uses(table: str, *arguments: Any) -> str:
        if table == "keyuses":
            raise StorageUnavailable
        stored: str = await insert(table, *arguments)
        return stored

    documents.insert = insert_no_uses
    assert (await stack.chat(key=created["key"]))[0] == 200
    await stack.settled()
    assert (await stack.manage("GET", path_of(stack, created)))["last_used_at"] is None
    assert len(await stack.entries()) == 1


async def test_a_key_calls_only_its_deployments(stack: Stack) -> None:
    created = await create(stack, deployments=["gpt-4o"])
    key = created["key"]
    assert (await stack.chat(key=key))[0] == 200
    other = f"{stack.url}/openai/deployments/gpt-4o-mini/chat/completions?api-version={API_VERSION}"
    unknown = f"{stack.url}/openai/deployments/gpt-9/chat/completions?api-version={API_VERSION}"
    answers = [await stack.chat(key=key, url=url) for url in (other, unknown)]
    assert [status for status, _, _ in answers] == [404, 404]
    messages = [answer["error"]["message"].partition(" (request id")[0] for _, _, answer in answers]
    assert messages[0] == messages[1]
    _, listed = await call(stack, key, "/openai/v1/models")
    assert [model["id"] for model in listed["data"]] == ["gpt-4o"]
    assert (await call(stack, key, "/openai/v1/models/gpt-4o-mini"))[0] == 404
    pools = {"gpt-4o": ["se-gpt-4o"], "gpt-4o-mini": ["se-gpt-4o-mini"]}
    await stack.manage("PATCH", f"/manage/tenants/{stack.tenant}", {"pools": pools})
    me = (await call(stack, key, "/me"))[1]
    assert (me["deployments"], me["pools"]) == (["gpt-4o"], {"gpt-4o": ["se-gpt-4o"]})
    assert [(await stack.chat(key=each))[0] for each in (key, stack.key)] == [200, 200]
    assert (await stack.chat(url=other))[0] == 200


async def test_a_key_loses_a_deployment_that_its_tenant_loses(stack: Stack) -> None:
    created = await create(stack, deployments=["gpt-4o", "gpt-4o-mini"])
    await stack.manage("PATCH", f"/manage/tenants/{stack.tenant}", {"deployments": ["gpt-4o-mini"]})
    assert (await stack.chat(key=created["key"]))[0] == 404
    _, listed = await call(stack, created["key"], "/openai/v1/models")
    assert [model["id"] for model in listed["data"]] == ["gpt-4o-mini"]
    changed = await stack.manage("PATCH", path_of(stack, created), {"deployments": ["gpt-4o"]})
    assert changed["deployments"] == ["gpt-4o"]  # it had that one before


async def test_a_key_that_reads_usage_sends_no_inference(stack: Stack) -> None:
    key = (await create(stack, scope="usage.read"))["key"]
    assert (await call(stack, key, "/me/usage"))[0] == 200
    status, _, refused = await stack.chat(key=key)
    assert (status, refused["error"]["code"]) == (403, "insufficient_role")
    for path in ("/openai/v1/models", "/openai/v1/responses/resp_1", "/manage/tenants"):
        assert (await call(stack, key, path))[0] == 403
    assert await stack.entries() == []


@pytest.mark.parametrize("settings", [{"scope": "usage.read"}, {"deployments": ["gpt-4o"]}], ids=str)
async def test_a_restricted_key_sees_no_entries_of_the_tenant(stack: Stack, settings: Any) -> None:
    await stack.chat(user="ann")
    await stack.settled()
    (entry,) = await stack.entries()
    restricted = (await create(stack, **settings))["key"]
    for path in ("/me/entries", f"/me/entries/{entry['rid']}/proof"):
        status, answer = await call(stack, restricted, path)
        assert (status, answer["error"]["code"]) == (403, "insufficient_role")
        assert (await call(stack, stack.key, path))[0] != 403


async def test_a_stored_response_is_read_by_keys_that_may_call_its_deployment(stack: Stack) -> None:
    url = f"{stack.url}/openai/v1/responses"
    mine, other = await create(stack, deployments=["gpt-4o"]), await create(stack, deployments=["gpt-4o-mini"])
    body = {"model": "gpt-4o", "input": "Hello!"}
    async with stack.session.post(url, json=body, headers={"api-key": mine["key"]}) as response:
        created = await response.json()
    path = f"/openai/v1/responses/{created['id']}"
    assert (await call(stack, mine["key"], path))[0] == 200
    assert (await call(stack, stack.key, path))[0] == 200
    for method, tail in (("GET", ""), ("GET", "/input_items"), ("POST", "/cancel"), ("DELETE", "")):
        status, answer = await call(stack, other["key"], path + tail, method)
        assert (status, answer["error"]["code"]) == (404, "response_not_found")
    following = {"model": "gpt-4o-mini", "input": "And?", "previous_response_id": created["id"]}
    async with stack.session.post(url, json=following, headers={"api-key": other["key"]}) as response:
        assert response.status == 404
        assert (await response.json())["error"]["code"] == "response_not_found"


async def test_a_rotated_key_overlaps_with_its_successor(stack: Stack) -> None:
    settings = {
        "label": "jobs", "owner": "ann", "deployments": ["gpt-4o"], "address_ranges": ["127.0.0.1/32"], "scope": "use"
    }  # fmt: skip
    old = await create(stack, **settings)
    rotated = await stack.manage("POST", path_of(stack, old) + "/rotate", {"overlap_hours": 2})
    assert {name: rotated[name] for name in settings} == settings
    assert (rotated["replaces"], rotated["old_key"]["replaced_by"]) == (old["key_id"], rotated["key_id"])
    assert rotated["expires_at"] is None
    ends_in = datetime.fromisoformat(rotated["old_key"]["expires_at"]) - datetime.now(UTC)
    assert timedelta(hours=1, minutes=55) < ends_in <= timedelta(hours=2)
    assert [(await stack.chat(key=each["key"]))[0] for each in (old, rotated)] == [200, 200]
    shown = {each["key_id"]: each for each in (await stack.manage("GET", path_of(stack)))["data"]}
    assert shown[old["key_id"]]["state"] == shown[rotated["key_id"]]["state"] == "active"


async def test_a_rotation_without_overlap_ends_the_old_key_at_once(stack: Stack) -> None:
    old = await create(stack)
    rotated = await stack.manage("POST", path_of(stack, old) + "/rotate", {"overlap_hours": 0})
    assert rotated["old_key"]["state"] == "expired"
    assert [(await stack.chat(key=each["key"]))[0] for each in (old, rotated)] == [401, 200]


async def test_a_rotation_keeps_the_lifetime_of_a_key_and_never_prolongs_the_old_one(stack: Stack) -> None:
    now = datetime.now(UTC)
    old = await create(stack, expires_at=(now + timedelta(hours=1)).isoformat())
    rotated = await stack.manage("POST", path_of(stack, old) + "/rotate", {})
    assert rotated["old_key"]["expires_at"] == old["expires_at"]
    lifetimes = [
        datetime.fromisoformat(each["expires_at"]) - datetime.fromisoformat(each["created_at"])
        for each in (old, rotated)
    ]
    assert lifetimes[0] == lifetimes[1]
    again = await stack.manage("POST", path_of(stack, rotated) + "/rotate", {"new_key_expires_at": None})
    assert again["expires_at"] is None
    stated = {"expires_at": (now + timedelta(minutes=30)).isoformat(), "new_key_expires_at": "2030-01-01T00:00:00Z"}
    last = await stack.manage("POST", path_of(stack, again) + "/rotate", stated)
    assert last["expires_at"] == "2030-01-01T00:00:00Z"
    assert datetime.fromisoformat(last["old_key"]["expires_at"]) == datetime.fromisoformat(stated["expires_at"])


@pytest.mark.parametrize(
    ("body", "param"),
    [
        ({"overlap_hours": -1}, "overlap_hours"),
        ({"overlap_hours": 2161}, "overlap_hours"),
        ({"overlap_hours": 1.5}, "overlap_hours"),
        ({"overlap_hours": 1, "expires_at": "2030-01-01T00:00:00Z"}, "expires_at"),
        ({"expires_at": "2020-01-01T00:00:00Z"}, "expires_at"),
        ({"expires_at": "2099-01-01T00:00:00Z"}, "expires_at"),
        ({"new_key_expires_at": "2020-01-01T00:00:00Z"}, "new_key_expires_at"),
        ({"label": "x"}, "label"),
    ],
)
async def test_a_rotation_that_cannot_be_is_refused_and_changes_nothing(stack: Stack, body: Any, param: str) -> None:
    created = await create(stack)
    refused = await stack.manage("POST", path_of(stack, created) + "/rotate", body, status=400)
    assert refused["error"]["param"] == param
    assert (await stack.manage("GET", path_of(stack, created)))["replaced_by"] == ""


async def test_a_repeated_rotation_names_the_successor_and_changes_nothing(stack: Stack) -> None:
    """So an answer that was lost costs no second key: the successor, whose secret nobody has, is rotated."""
    old = await create(stack)
    lost = await stack.manage("POST", path_of(stack, old) + "/rotate", {})
    refused = await stack.manage("POST", path_of(stack, old) + "/rotate", {}, status=409)
    assert refused["error"]["code"] == "key_replaced"
    assert lost["key_id"] in refused["error"]["message"]
    found = await stack.manage("POST", path_of(stack, lost) + "/rotate", {"overlap_hours": 0})
    keys = {each["key_id"]: each["state"] for each in (await stack.manage("GET", path_of(stack)))["data"]}
    assert [keys[each["key_id"]] for each in (old, lost, found)] == ["active", "expired", "active"]


async def test_a_rotation_whose_writing_was_not_confirmed_is_told_by_the_next_call(stack: Stack) -> None:
    old, documents = await create(stack), await documents_of(stack)
    commit = documents.commit

    async def lose_the_answer(*arguments: Any) -> None:
        await commit(*arguments)
        raise StorageUnavailable

    documents.commit = lose_the_answer
    await stack.manage("POST", path_of(stack, old) + "/rotate", {}, status=503)
    documents.commit = commit
    refused = await stack.manage("POST", path_of(stack, old) + "/rotate", {}, status=409)
    (successor,) = [each for each in (await stack.manage("GET", path_of(stack)))["data"] if each["replaces"]]
    assert successor["key_id"] in refused["error"]["message"]
    assert (await stack.chat(key=old["key"]))[0] == 200


async def test_rotations_at_the_same_time_make_one_successor(stack: Stack) -> None:
    old, documents = await create(stack), await documents_of(stack)
    commit, raced = documents.commit, list[bool]()

    async def lose_once(*arguments: Any) -> Any:
        if not raced:
            raced.append(True)
            await stack.manage("POST", path_of(stack, old) + "/rotate", {})
        return await commit(*arguments)

    documents.commit = lose_once
    await stack.manage("POST", path_of(stack, old) + "/rotate", {}, status=409)
    keys = (await stack.manage("GET", path_of(stack)))["data"]
    assert [each["key_id"] for each in keys if each["replaces"] == old["key_id"]] == [
        next(each["replaced_by"] for each in keys if each["key_id"] == old["key_id"])
    ]


async def test_keys_that_nobody_has_are_named_in_the_error(stack: Stack) -> None:
    nobody = f"/manage/tenants/{stack.tenant}/keys/{stack.tenant}-00000000"
    for method, path in (("GET", nobody), ("PATCH", nobody), ("POST", f"{nobody}/rotate")):
        assert (await stack.manage(method, path, {}, status=404))["error"]["code"] == "not_found"
    await stack.register("other")
    (others,) = (await stack.manage("GET", "/manage/tenants/other/keys"))["data"]
    await stack.manage("GET", path_of(stack, others), status=404)


async def test_keys_in_force_are_bounded(stack: Stack) -> None:
    directory = (await stack.gateway()).tenancy.keys._keys
    for _ in range(MAX_KEYS_IN_FORCE - 1):
        await directory.insert(new_gateway_key(stack.tenant, datetime.now(UTC), None)[0], told())
    (first, *_) = (await stack.manage("GET", path_of(stack)))["data"]
    for path in (path_of(stack), path_of(stack, first) + "/rotate"):
        refused = await stack.manage("POST", path, {}, status=400)
        assert "500 keys in force" in refused["error"]["message"]
    await stack.manage("DELETE", path_of(stack, first))
    await create(stack)


async def test_the_key_that_ended_first_makes_room_for_a_new_one(stack: Stack) -> None:
    gateway = await stack.gateway()
    directory, uses = gateway.tenancy.keys._keys, gateway.tenancy.keys._uses
    day = datetime(2026, 1, 1, tzinfo=UTC)
    ended = [new_gateway_key(stack.tenant, day, day + timedelta(days=1 + number % 9)) for number in range(999)]
    for key, _ in ended:
        await directory.insert(key, told())
        await uses.note((stack.tenant, key.key_id), day)
    await create(stack)
    listed = {each["key_id"] for each in (await stack.manage("GET", path_of(stack)))["data"]}
    assert len(listed) == MAX_STORED_KEYS
    (removed,) = [key for key, _ in ended if key.key_id not in listed]
    assert removed.expires_at == day + timedelta(days=1)
    assert removed.key_id not in await uses.last(stack.tenant)


@dataclass(slots=True)
class MovableClock:
    """The time of this machine, and seconds that a test adds."""

    seconds: float = 0.0

    def now(self) -> datetime:
        return datetime.now(UTC) + timedelta(seconds=self.seconds)

    def monotonic(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds


@pytest.fixture
async def another(stack_on_tables: Stack) -> AsyncIterator[tuple[Gateway, MovableClock]]:
    """A second gateway over the same storage, with a clock of its own."""
    clock = MovableClock()
    gateway = await build(read_settings(), clock)
    yield gateway, clock
    await gateway.aclose()


_Change = Callable[[Stack, dict[str, Any]], Awaitable[Any]]


@pytest.mark.parametrize(
    "change",
    [
        lambda stack, key: stack.manage("DELETE", path_of(stack, key)),
        lambda stack, key: stack.manage("POST", path_of(stack, key) + "/rotate", {"overlap_hours": 0}),
        lambda stack, key: stack.manage("PATCH", path_of(stack, key), {"address_ranges": ["203.0.113.0/24"]}),
        lambda stack, _: stack.manage(
            "PATCH", f"/manage/tenants/{stack.tenant}", {"address_ranges": ["203.0.113.0/24"]}
        ),
    ],
    ids=["revoke", "rotate", "ranges of the key", "ranges of the tenant"],
)
async def test_a_change_reaches_another_gateway_within_25_seconds(
    stack_on_tables: Stack, another: tuple[Gateway, MovableClock], change: _Change
) -> None:
    gateway, clock = another
    created = await create(stack_on_tables)
    authenticate = gateway.tenancy.authenticate
    assert isinstance(await authenticate.identify(created["key"], lambda: HOME), TenantPrincipal)
    await change(stack_on_tables, created)
    clock.seconds = 24.9
    await authenticate.identify(created["key"], lambda: HOME)
    clock.seconds = 25
    authenticate.forget("another tenant")
    with pytest.raises(InvalidApiKey):
        await authenticate.identify(created["key"], lambda: HOME)
    await gateway.background.drain()


async def test_two_gateways_agree_on_the_last_use(
    stack_on_tables: Stack, another: tuple[Gateway, MovableClock]
) -> None:
    stack, (gateway, clock) = stack_on_tables, another
    created = await create(stack)
    clock.seconds = 3 * 3600
    await gateway.tenancy.authenticate.identify(created["key"], lambda: HOME)
    await gateway.background.drain()
    later = (await stack.manage("GET", path_of(stack, created)))["last_used_at"]
    assert (await stack.chat(key=created["key"]))[0] == 200
    await stack.settled()
    assert (await stack.manage("GET", path_of(stack, created)))["last_used_at"] == later


async def test_a_damaged_key_is_named_and_hides_no_other(stack: Stack) -> None:
    documents, good, bad = await documents_of(stack), await create(stack), await create(stack, label="bad")
    await documents.put("credentials", stack.tenant, bad["key_id"], "{")
    listed = (await stack.manage("GET", path_of(stack)))["data"]
    assert {"key_id": bad["key_id"], "state": "damaged"} in listed
    assert {good["key_id"]: "active", bad["key_id"]: "damaged"}.items() <= {
        each["key_id"]: each["state"] for each in listed
    }.items()
    await stack.manage("POST", f"{path_of(stack, good)}/rotate", {}, status=201)
    await create(stack)
    for method, suffix in (("GET", ""), ("DELETE", ""), ("POST", "/rotate")):
        answer = await stack.manage(method, path_of(stack, bad) + suffix, {} if suffix else None, status=503)
        assert answer["error"]["code"] == "ledger_unavailable"
        assert f"The document of the key '{bad['key_id']}'" in answer["error"]["message"]
    (await stack.gateway()).tenancy.authenticate.forget(stack.tenant)
    assert (await call(stack, bad["key"], "/me"))[0] == 503


async def test_a_damaged_tenant_is_named(stack: Stack) -> None:
    await (await documents_of(stack)).put("tenants", stack.tenant, "tenant", "{")
    answer = await stack.manage("GET", f"/manage/tenants/{stack.tenant}", status=503)
    assert stack.tenant in answer["error"]["message"]
