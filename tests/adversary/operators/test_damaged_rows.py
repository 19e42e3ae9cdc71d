"""A row of any table is damaged by hand: every other row is served and swept, and the damaged one is named."""

from __future__ import annotations

import json
import re
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any, Final, TypeAlias

import pytest

from shared import timers
from shared.adapters.documents.codec import to_json
from shared.adapters.documents.store import OutboxRow
from shared.adapters.in_memory.documents import InMemoryDocuments
from shared.adapters.tables.store import Insert, Merge
from shared.application.health.publish_gauges import PublishGauges
from shared.application.sweep import SweepFailed
from shared.domain.alerts.sink import AlertSink, SinkType
from shared.domain.errors import GatewayError, RowsDamaged
from shared.domain.identifiers import BillingPeriod
from shared.domain.ledger.amounts import Limit
from shared.domain.ledger.balance import Account
from shared.domain.telemetry.instruments import Instrument
from tests.contract.storage.conftest import table_service
from tests.functions.inference.test_responses import call, create
from tests.functions.routing.test_bootstrap import bootstrap
from tests.tools.ledgers import FaultyStore, account, reservation
from tests.tools.ledgers import rows_of as rows_of_partition
from tests.tools.stack import AzuriteAccount, Stack
from tests.unit.ledger.test_periods import World

TIMERS: Final = (
    "reset_monthly_quotas", "export_chargeback", "expire_reservations", "level_lanes", "settle_background_responses",
    "reconcile_limits", "describe_tenants", "chain_audit", "roll_up_usage", "report_health", "verify_books",
    "anchor_audit", "deliver_alerts", "watch_budgets", "watch_spending",
)  # fmt: skip
Damage: TypeAlias = Callable[[Stack], Awaitable[str]]
EVERY_TENANT: Final = {
    "reset_monthly_quotas", "reconcile_limits", "describe_tenants", "watch_budgets", "watch_spending"
}  # fmt: skip
EVERY_MONTH: Final = {"export_chargeback", "verify_books"}
EVERY_LANE: Final = {"expire_reservations", "level_lanes", "roll_up_usage", "report_health", "verify_books"}


async def documents_of(stack: Stack) -> Any:
    return (await stack.gateway()).pricing.prices._store._documents  # type: ignore[attr-defined]


async def rows_of(stack: Stack) -> Any:
    return (await stack.gateway()).ledger.books._store  # type: ignore[attr-defined]


async def refresh(stack: Stack) -> None:
    """Let this process notice at once what others notice within 25 seconds."""
    gateway = await stack.gateway()
    gateway.pricing.book.invalidate()
    gateway.routing.configured.invalidate()


def document(table: str, partition: str, key: str, text: str = "{") -> Damage:
    """Return the damage that writes a document. Its result is the name of the row."""

    async def damage(stack: Stack) -> str:
        await (await documents_of(stack)).put(table, partition, key, text)
        await refresh(stack)
        return f"{table}/{partition}/{key}"

    return damage


def row(table: str, partition: str, key: str, **fields: Any) -> Damage:
    """Return the damage that inserts a row beside those of the ledger. `{month}` and `{tenant}` are filled in."""

    async def damage(stack: Stack) -> str:
        month = str(BillingPeriod.containing((await stack.gateway()).clock.now()))
        names = {"month": month, "months": month.replace("-", ""), "tenant": stack.tenant}
        place = [each.format(**names) for each in (table, partition, key)]
        store = await rows_of(stack)
        await store.create_table(place[0])
        await store.submit(place[0], place[1], [Insert(place[2], dict(fields))], "spoiled")
        return "/".join(place)

    return damage


def both(first: Damage, second: Damage) -> Damage:
    """Return the damage that does two things. The second one names the row."""

    async def damage(stack: Stack) -> str:
        await first(stack)
        return await second(stack)

    return damage


async def waiting_event(stack: Stack) -> str:
    await (await documents_of(stack)).append("audit", "outbox", OutboxRow("0" * 32, "{"))
    return "audit/outbox/" + "0" * 32


@dataclass(frozen=True)
class Case:
    """A damaged row, the list that names it, and the timers that fail because they cannot work on it."""

    damage: Damage
    path: str = ""
    is_problem: bool = False
    failing: frozenset[str] = frozenset()


def case(damage: Damage, path: str = "", failing: set[str] | None = None, *, problem: bool = False) -> Case:
    return Case(damage, path, problem, frozenset(failing or ()))


CASES: Final = {
    "a backend": case(document("backends", "backend", "odd"), "/manage/backends", problem=True),
    "a backend without a region": case(
        document("backends", "backend", "odd", '{"backend_id": "odd", "model": 7}'), "/manage/backends", problem=True
    ),
    "a backend that is another": case(
        document(
            "backends",
            "backend",
            "odd",
            json.dumps(
                {
                    "backend_id": "se-gpt-4o",
                    "endpoint": "http://127.0.0.1:1",
                    "upstream_deployment": "x",
                    "model": "gpt-4o",
                    "region": "eastus",
                    "auth": "api_key",
                }
            ),
        ),
        "/manage/backends",
        problem=True,
    ),
    "a deployment": case(document("backends", "deployment", "odd"), "/manage/deployments", problem=True),
    "a deployment that is another": case(
        document("backends", "deployment", "odd", '{"name": "gpt-4o", "backends": []}'),
        "/manage/deployments",
        problem=True,
    ),
    "a hint": case(document("backends", "hint", "odd"), problem=True),
    "a hint without a zone": case(
        document(
            "backends",
            "hint",
            "se-gpt-4o",
            json.dumps(
                {
                    "backend_id": "se-gpt-4o",
                    "instance": "i",
                    "noted_at": "2026-01-01T00:00:00",
                    "down_until": "2099-01-01T00:00:00",
                    "reason": "r",
                }
            ),
        ),
        problem=True,
    ),
    "a price": case(document("prices", "odd", "odd"), "/manage/prices", problem=True),
    "a tenant": case(document("tenants", "odd", "tenant"), "/manage/tenants", EVERY_TENANT),
    "a sink": case(document("alertsinks", "~platform", "odd"), "/manage/alerts/sinks"),
    "an alert": case(document("alerts", "period.closed", "odd")),
    "a logged alert": case(document("alertlog", "~platform", "odd")),
    "a key": case(document("credentials", "odd", "odd")),
    "a use of a key": case(document("keyuses", "odd", "odd")),
    "a principal": case(document("principals", "odd", "odd")),
    "a grant": case(document("grants", "odd", "odd"), failing={"reconcile_limits"}),
    "a state of a timer": case(document("health", "timers", "odd")),
    "a verification": case(document("health", "verifications", "odd")),
    "an instance": case(document("health", "instances", "odd")),
    "an event that waits": case(waiting_event, failing={"chain_audit"}),
    "a month": case(row("registry", "2026-13", "acme|00"), "/manage/periods", EVERY_MONTH, problem=True),
    "a month of no calendar": case(row("registry", "9999-12", "acme|00"), "/manage/periods", EVERY_MONTH, problem=True),
    "a lane": case(row("registry", "{month}", "odd|vault"), "/manage/periods", EVERY_LANE, problem=True),
    "a lane of nobody": case(row("registry", "{month}", "|00"), "/manage/periods", EVERY_LANE, problem=True),
    "a lane with a sign": case(row("registry", "{month}", "odd|+1"), "/manage/periods", EVERY_LANE, problem=True),
    "a balance": case(
        both(row("registry", "{month}", "odd|00"), row("ledger{months}", "odd|00", "B", state="BROKEN")),
        failing={"report_health", "roll_up_usage", "verify_books"},
    ),
    "a deferred response": case(row("responses", "running", "odd"), failing={"settle_background_responses"}),
}


def by_name(**chosen: bool) -> pytest.MarkDecorator:
    named = {
        name: each
        for name, each in CASES.items()
        if (not chosen.get("listed") or each.path) and (not chosen.get("problem") or each.is_problem)
    }
    return pytest.mark.parametrize("damaged", named.values(), ids=named.keys())


@by_name(listed=True)
async def test_a_list_has_all_other_rows_and_names_the_damaged_one(stack: Stack, damaged: Case) -> None:
    await stack.chat()
    sink = AlertSink(name="sound", type=SinkType.SLACK, address_secret="where", enabled=False)
    await (await documents_of(stack)).put("alertsinks", "~platform", "sound", to_json(sink))
    before = (await stack.manage("GET", damaged.path))["data"]
    assert before
    named = await damaged.damage(stack)
    after = await stack.manage("GET", damaged.path)
    assert after["data"] == before
    (found,) = after["damaged"]
    assert found["row"].startswith(named.rpartition("/")[0] if damaged.path == "/manage/periods" else named)
    assert found["message"]


@by_name(problem=True)
async def test_the_status_names_it(stack: Stack, damaged: Case) -> None:
    await stack.chat()
    before = await stack.manage("GET", "/manage/status")
    named = await damaged.damage(stack)
    after = await stack.manage("GET", "/manage/status")
    (found,) = [each for each in after["problems"] if each not in before["problems"]]
    assert named.startswith(found["object"])
    assert after["checks"] == before["checks"]


@by_name()
async def test_every_other_row_is_served_and_swept(stack: Stack, damaged: Case) -> None:
    await stack.chat()
    named = await damaged.damage(stack)
    await create(stack, background=True)
    for kept in stack.simulator.kept.values():
        kept.look()
    assert (await stack.chat())[0] == 200
    failed: dict[str, str] = {}
    for timer in TIMERS:
        try:
            await getattr(timers, timer)(past_due=False)
        except GatewayError as error:
            failed[timer] = str(error)
    assert set(failed) == damaged.failing, failed
    _, partition, key = named.split("/")
    names = {key, partition, partition.partition("|")[0]}
    assert all(any(name in told for name in names) for told in failed.values()), failed
    usage = await stack.usage()
    assert (usage["requests"], usage["tokens_reserved"]) == (3, 0)
    assert (await stack.manage("GET", "/manage/status"))["timers"]


async def test_a_damaged_backend_leaves_its_requests_to_the_others_and_is_no_other(stack: Stack) -> None:
    await stack.pool("swedencentral", "eastus")
    named = await document("backends", "backend", "eastus")(stack)
    for _ in range(4):
        status, headers, _ = await stack.chat()
        assert (status, headers["x-gateway-backend"]) == (200, "swedencentral")
    definition = {
        "endpoint": f"{stack.simulator_url}/eastus", "upstream_deployment": "x", "region": "eastus", "auth": "api_key",
        "model": "gpt-4o",
    }  # fmt: skip
    for method, body in (("GET", None), ("DELETE", None), ("PUT", definition)):
        answer = await stack.manage(method, "/manage/backends/eastus", body, status=503)
        assert named in answer["error"]["message"]


async def test_a_damaged_deployment_is_refused_and_no_other(stack: Stack) -> None:
    named = await document("backends", "deployment", "gpt-4o")(stack)
    status, _, answer = await stack.chat()
    assert (status, answer["error"]["code"], named in answer["error"]["message"]) == (503, "ledger_unavailable", True)
    assert (await stack.chat(url=stack.chat_url.replace("/gpt-4o/", "/gpt-4o-mini/")))[0] == 200
    for method, body in (("GET", None), ("PUT", {"backends": ["se-gpt-4o"]})):
        answer = await stack.manage(method, "/manage/deployments/gpt-4o", body, status=503)
        assert named in answer["error"]["message"]
    stranger = await stack.register(f"{stack.tenant}-b", deployments=["gpt-4o-mini"])
    assert (await stack.chat(key=stranger))[0] == 404


async def drained(stack: Stack) -> str:
    """Return the content of the row of a drained backend in Sweden."""
    found = await (await documents_of(stack)).get("backends", "backend", "se-gpt-4o")
    return json.dumps({**json.loads(found.text), "backend_id": "swedencentral", "weight": 0})


async def test_a_damaged_backend_is_no_lack_of_backends_and_no_violation_of_residency(stack: Stack) -> None:
    await stack.pool("swedencentral", "eastus")
    url = f"/manage/tenants/{stack.tenant}"
    await stack.manage("PATCH", url, {"residency": {"zones": ["eu"]}})
    named = await document("backends", "backend", "swedencentral")(stack)
    status, _, answer = await stack.chat()
    assert (status, named in answer["error"]["message"]) == (503, True)
    refused = await stack.manage("PATCH", url, {"residency": {"zones": ["se"]}}, status=503)
    assert named in refused["error"]["message"]
    await stack.manage("PATCH", url, {"residency": {"zones": []}, "pools": {"gpt-4o": ["eastus"]}})
    assert (await stack.chat())[0] == 200
    named = await document("backends", "backend", "eastus")(stack)
    status, _, answer = await stack.chat()
    assert (status, named in answer["error"]["message"]) == (503, True)


async def test_a_damaged_fallback_is_no_lack_of_backends(stack: Stack) -> None:
    await stack.pool("swedencentral", fallbacks=["gpt-4o-mini"])
    await document("backends", "backend", "swedencentral", await drained(stack))(stack)
    assert (await stack.chat())[0] == 200
    named = await document("backends", "deployment", "gpt-4o-mini")(stack)
    status, _, answer = await stack.chat()
    assert (status, named in answer["error"]["message"]) == (503, True)


async def test_nothing_is_configured_anew_around_a_damaged_row(stack: Stack) -> None:
    await stack.pool("swedencentral", "eastus")
    backend = await document("backends", "backend", "eastus")(stack)
    answer = await stack.manage("PUT", "/manage/deployments/new", {"backends": ["eastus"]}, status=503)
    assert backend in answer["error"]["message"]
    deployment = await document("backends", "deployment", "gpt-4o")(stack)
    fallback = {"backends": ["swedencentral"], "fallbacks": ["gpt-4o"]}
    for method, path, body in (
        ("PUT", "/manage/deployments/new", fallback),
        ("DELETE", "/manage/backends/swedencentral", None),  # the damaged deployment may use it
        ("POST", "/manage/route", {"tenant_id": stack.tenant, "deployment": "gpt-4o"}),
        ("POST", "/manage/tenants", {"tenant_id": f"{stack.tenant}-b", "deployments": ["gpt-4o"]}),
    ):
        answer = await stack.manage(method, path, body, status=503)
        assert deployment in answer["error"]["message"]
    pools = {"deployments": ["gpt-4o-mini"], "pools": {"gpt-4o-mini": ["eastus"]}}
    answer = await stack.manage("POST", "/manage/tenants", {"tenant_id": f"{stack.tenant}-b", **pools}, status=503)
    assert backend in answer["error"]["message"]
    await stack.manage("PATCH", f"/manage/tenants/{stack.tenant}", {"name": "Acme & Co"})


async def test_a_row_under_another_spelling_of_a_key_hides_nothing(stack: Stack) -> None:
    documents = await documents_of(stack)
    found = json.loads((await documents.get("backends", "backend", "se-gpt-4o")).text)
    text = json.dumps({**found, "backend_id": "7"})
    await document("backends", "backend", "7", text)(stack)
    named = await document("backends", "backend", "=37", text)(stack)
    assert (await stack.manage("GET", "/manage/backends/7"))["backend_id"] == "7"
    listed = await stack.manage("GET", "/manage/backends")
    assert [each["row"] for each in listed["damaged"]] == [named]
    assert "7" in [each["backend_id"] for each in listed["data"]]


async def test_a_damaged_catalog_is_no_empty_one_to_which_the_settings_add_a_backend() -> None:
    documents = InMemoryDocuments()
    await documents.put("backends", "backend", "old", "{")

    def never() -> Any:
        raise AssertionError("a backend was created")

    await bootstrap(documents)(never)
    assert await documents.list("backends", partition="deployment") == []


@pytest.mark.parametrize("stack_settings", [{"CLOSE_GRACE_HOURS": "0"}], indirect=True)
async def test_a_month_with_a_damaged_lane_is_not_closed_and_says_so(stack: Stack) -> None:
    gateway = await stack.gateway()
    previous = BillingPeriod.containing(gateway.clock.now()).previous()
    await gateway.ledger.books.open(Account(tenant_id=stack.tenant, period=str(previous), limit=Limit()))
    named = await row("registry", str(previous), "odd|vault")(stack)
    answer = await stack.manage("POST", f"/manage/periods/{previous}/close", status=409)
    assert named in answer["error"]["message"]
    (listed,) = (await stack.manage("GET", "/manage/periods"))["data"]
    assert (listed["state"], listed["lanes"], listed["lanes_not_closed"]) == ("closing", 1, [])
    answer = await stack.manage("POST", f"/manage/chargeback/{previous}/export", status=409)
    assert named in answer["error"]["message"]


async def rows_at(stack: Stack, table: str, partition: str) -> dict[str, Any]:
    return {each.key: each async for each in (await rows_of(stack)).scan(table, partition, "", "~")}


async def spoil(stack: Stack, table: str, partition: str, key: str, **fields: Any) -> str:
    """Write fields into a row, past the gateway. Returns the name of the row."""
    etag = (await rows_at(stack, table, partition))[key].etag
    await (await rows_of(stack)).submit(table, partition, [Merge(key, dict(fields), etag)], "spoiled")
    return f"{table}/{partition}/{key}"


async def month_of(stack: Stack) -> str:
    return str(BillingPeriod.containing((await stack.gateway()).clock.now())).replace("-", "")


@pytest.mark.parametrize("kind", ["entry", "rollup", "watermark"])
async def test_what_cannot_be_read_of_one_tenant_is_named_and_hides_no_other_tenant(stack: Stack, kind: str) -> None:
    await stack.chat()
    await timers.roll_up_usage(past_due=False)
    await stack.chat()
    month, lane = await month_of(stack), f"{stack.tenant}|00"
    if kind == "entry":
        named = await spoil(stack, f"ledger{month}", lane, "E|0000000000000002", kind="BROKEN")
    elif kind == "rollup":
        key = next(each for each in await rows_at(stack, f"rollup{month}", lane) if each.startswith("R|"))
        named = await spoil(stack, f"rollup{month}", lane, key, requests="many")
    else:
        named = await spoil(stack, f"rollup{month}", lane, "W", seq="many")
    for path in ("usage", *(["entries"] if kind == "entry" else [])):
        answer = await stack.manage("GET", f"/manage/tenants/{stack.tenant}/{path}", status=503)
        assert named in answer["error"]["message"]
    other = f"{stack.tenant}-b"
    await stack.chat(key=await stack.register(other))
    with pytest.raises(SweepFailed, match=f"1 failed.*{re.escape(lane)}: RowsDamaged: .*{re.escape(named)}"):
        await timers.roll_up_usage(past_due=False)
    assert (await stack.usage(other))["requests"] == 1
    assert len(await stack.entries(other)) == 1


async def test_a_stored_response_whose_row_cannot_be_read_is_named(stack: Stack) -> None:
    first, second = [(await create(stack))["id"] for _ in range(2)]
    running = (await create(stack, background=True))["id"]
    await spoil(stack, f"responses{await month_of(stack)}", stack.tenant, first, context_tokens="x")
    await spoil(stack, "responses", "running", running, lane="first")
    for response_id, expected in ((first, 503), (second, 200), (running, 503)):
        url = f"{stack.url}/openai/v1/responses/{response_id}"
        async with stack.session.get(url, headers={"api-key": stack.key}) as answer:
            assert (answer.status, response_id in await answer.text()) == (expected, True)


async def test_a_response_of_a_damaged_backend_is_not_missing(stack: Stack) -> None:
    made, running = await create(stack), await create(stack, background=True)
    stack.simulator.kept[running["id"]].look()
    asked = len(await stack.requests())
    named = await document("backends", "backend", "se-gpt-4o")(stack)
    for response_id in (made["id"], running["id"]):
        for method, part in (("GET", ""), ("DELETE", "")):
            status, answer = await call(stack, method, f"/responses/{response_id}{part}")
            assert (status, named in answer["error"]["message"]) == (503, True)
    body = {"model": "gpt-4o", "input": "And?", "previous_response_id": made["id"]}
    status, answer = await call(stack, "POST", "/responses", body)
    assert (status, named in answer["error"]["message"]) == (503, True)
    with pytest.raises(SweepFailed, match=f"{running['id']}: RowsDamaged: .*{named}"):
        await timers.settle_background_responses(past_due=False)
    assert len(await stack.requests()) == asked
    assert len(await stack.entries()) == 1


async def copy_row(stack: Stack, table: str, source: tuple[str, str], target: tuple[str, str]) -> str:
    """Write the content of a document into another one's row, past the gateway. Returns the name of that row."""
    documents = await documents_of(stack)
    found = await documents.get(table, *source)
    return await document(table, *target, found.text)(stack)


async def test_the_document_of_a_tenant_or_key_is_no_other_one(stack: Stack) -> None:
    others = [f"{stack.tenant}-{each}" for each in "bc"]
    of_other_tenant, of_other_key = [await stack.register(each) for each in others]
    await copy_row(stack, "tenants", (stack.tenant, "tenant"), (others[0], "tenant"))
    own_id, other_id = stack.key.split("_")[1], of_other_key.split("_")[1]
    await copy_row(stack, "credentials", (stack.tenant, own_id), (others[1], other_id))
    for key, named in ((of_other_tenant, others[0]), (of_other_key, other_id)):
        status, _, answer = await stack.chat(key=key)
        assert (status, named in answer["error"]["message"]) == (503, True), answer
    listed = await stack.manage("GET", "/manage/tenants")
    assert [each["row"] for each in listed["damaged"]] == [f"tenants/{others[0]}/tenant"]
    assert [each["tenant_id"] for each in listed["data"]].count(stack.tenant) == 1
    keys = (await stack.manage("GET", f"/manage/tenants/{others[1]}/keys"))["data"]
    assert [each["state"] for each in keys] == ["damaged"]
    assert (await stack.chat())[0] == 200
    assert len(await stack.entries()) == 1


async def test_the_document_of_a_sink_is_no_other_one(stack: Stack) -> None:
    sink = AlertSink(name="sound", type=SinkType.SLACK, address_secret="where", enabled=False)
    await document("alertsinks", "~platform", "sound", to_json(sink))(stack)
    named = await copy_row(stack, "alertsinks", ("~platform", "sound"), ("~platform", "odd"))
    listed = await stack.manage("GET", "/manage/alerts/sinks")
    assert [each["name"] for each in listed["data"]] == ["sound"]
    assert [each["row"] for each in listed["damaged"]] == [named]
    assert named in (await stack.manage("GET", "/manage/alerts/sinks/odd", status=503))["error"]["message"]


async def test_a_damaged_sink_is_named_by_each_of_its_routes(stack: Stack) -> None:
    named = await document("alertsinks", "~platform", "odd")(stack)
    for method, path in (("GET", ""), ("DELETE", ""), ("POST", "/redeliver")):
        answer = await stack.manage(method, f"/manage/alerts/sinks/odd{path}", status=503)
        assert named in answer["error"]["message"]


async def test_a_damaged_state_of_aliases_refuses_only_its_tenant(stack: Stack) -> None:
    await stack.manage("PATCH", f"/manage/tenants/{stack.tenant}", {"pseudonymise_users": True})
    named = await document("pseudonyms", stack.tenant, "state")(stack)
    status, _, answer = await stack.chat(user="ann")
    assert (status, named in answer["error"]["message"]) == (503, True)
    other = await stack.register(f"{stack.tenant}-b", pseudonymise_users=True)
    assert (await stack.chat(user="ann", key=other))[0] == 200


async def test_a_damaged_state_of_an_audit_month_is_named(stack: Stack) -> None:
    named = await document("audit", "periods", "2026-01")(stack)
    periods: Any = (await stack.gateway()).audit.periods
    with pytest.raises(RowsDamaged, match=named):
        await periods._periods.get("2026-01")
    assert await periods._periods.get("2026-02") is None


async def test_a_row_without_any_text_is_damaged_and_no_defect(stack_on_tables: Stack, azurite: AzuriteAccount) -> None:
    async with table_service(azurite.table_endpoint, azurite.key) as service:
        name = f"odd-{stack_on_tables.tenant}"
        client = service.get_table_client("prices")
        await client.create_entity({"PartitionKey": name, "RowKey": "odd", "number": 7})
        try:
            listed = await stack_on_tables.manage("GET", "/manage/prices")
        finally:
            await client.delete_entity(name, "odd")
        assert f"prices/{name}/odd" in [each["row"] for each in listed["damaged"]]
        assert listed["data"]


class Gauges:
    """The gauges that a test looks at."""

    def __init__(self) -> None:
        self.found: dict[str, float] = {}

    def set(self, instrument: Instrument, value: float, *_values: str) -> None:
        self.found[instrument.name] = value


@pytest.mark.parametrize("is_down", [False, True])
async def test_open_reservations_of_all_other_lanes_are_counted_unless_storage_is_down(is_down: bool) -> None:
    world, unasked, telemetry = World(), object(), Gauges()
    for tenant in ("acme", "bolt", "odd"):
        await world.ledger.reserve(account(tenant), reservation(tenant))
    sound = (await rows_of_partition(world.rows, "ledger202611", "odd|00"))["B"]
    await world.rows.submit("ledger202611", "odd|00", [Merge("B", {"state": "BROKEN"}, sound.etag)], "spoiled")
    await world.rows.submit("registry", "2026-11", [Insert("odd|vault", {})], "spoiled")
    ledger: Any = World(world.clock, FaultyStore(world.rows, is_down=is_down)).ledger
    gauges = PublishGauges(telemetry, unasked, unasked, ledger, world.clock)  # type: ignore[arg-type]
    named = "LedgerUnavailable" if is_down else r"2 failed. 2026-11\|odd\|00: RowsDamaged: .*; the list: .*odd\|vault"
    with pytest.raises(SweepFailed, match=named):
        await gauges._set_open_reservations()
    assert [*telemetry.found.values()] == ([] if is_down else [2])
