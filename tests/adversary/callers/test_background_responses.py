"""No background response is free: not by deleting it, by hanging up, by odd spellings, or because something dies."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import pytest

from shared.adapters.in_memory.table_store import InMemoryTableStore
from shared.adapters.tables.responses import TableResponses
from shared.adapters.tables.store import AnswerLost, RowChange
from shared.application.inference.settle_background_responses import SettleResponses
from tests.functions.inference.test_responses import asked, call, create
from tests.tools.stack import Stack, eventually

HELD = 77


async def entry_of(stack: Stack) -> dict[str, Any]:
    await stack.settled()
    (entry,) = await stack.entries()
    return entry


async def assert_is_booked(stack: Stack, entry: dict[str, Any]) -> None:
    """The one entry has what the backend bills, and the reservation is gone."""
    record = (await asked(stack))[-1]
    assert (entry["tokens"], entry["estimated"]) == (record["usage"]["total_tokens"], False)
    assert entry["usage"]["output"] == 40
    assert (await stack.usage())["tokens_reserved"] == 0


async def assert_is_charged_for_the_hold(stack: Stack, entry: dict[str, Any], code: str) -> None:
    assert (entry["error_code"], entry["estimated"], entry["usage"]["output"]) == (code, True, HELD)
    assert entry["usage"]["input"] > 0
    assert (await stack.usage())["tokens_reserved"] == 0


async def timer_of(stack: Stack) -> SettleResponses:
    return (await stack.gateway()).inference.settle_background


async def running(stack: Stack) -> list[str]:
    return [response_id async for response_id, _ in (await timer_of(stack))._directory.deferred()]


async def poll(stack: Stack, response_id: str) -> Any:
    return (await call(stack, "GET", f"/responses/{response_id}"))[1]


async def test_a_response_that_is_polled_to_its_end_is_settled_by_that_answer(stack: Stack) -> None:
    made = await create(stack, background=True)
    assert (await poll(stack, made["id"]))["status"] == "in_progress"
    assert await stack.entries() == []
    assert (await poll(stack, made["id"]))["status"] == "completed"
    await assert_is_booked(stack, await entry_of(stack))
    assert await (await timer_of(stack))() == 0
    assert (await call(stack, "DELETE", f"/responses/{made['id']}"))[0] == 200
    assert len(await stack.entries()) == 1


async def test_a_response_that_is_read_elsewhere_and_deleted_here_is_settled_first(stack: Stack) -> None:
    made = await create(stack, background=True)
    for kept in stack.simulator.kept.values():
        kept.look()
    assert (await call(stack, "DELETE", f"/responses/{made['id']}"))[0] == 200
    await assert_is_booked(stack, await entry_of(stack))
    assert await running(stack) == []


async def test_a_response_that_has_not_ended_cannot_be_deleted(stack: Stack) -> None:
    made = await create(stack, background=True)
    status, answer = await call(stack, "DELETE", f"/responses/{made['id']}")
    assert (status, answer["error"]["code"]) == (409, "response_running")
    assert (await call(stack, "DELETE", f"/responses/{made['id']}"))[0] == 200
    await assert_is_booked(stack, await entry_of(stack))


@pytest.mark.parametrize(
    ("fault", "status"), [({"kind": "status", "status": 500}, 502), ({"kind": "refuse", "count": 2}, 502)]
)
async def test_a_response_that_cannot_be_asked_for_is_not_deleted(
    stack: Stack, fault: dict[str, Any], status: int
) -> None:
    made = await create(stack, background=True)
    await stack.fault(deployment="responses", **fault)
    assert (await call(stack, "DELETE", f"/responses/{made['id']}"))[0] == status
    assert await running(stack) == [made["id"]]
    assert made["id"] in stack.simulator.kept
    await poll(stack, made["id"])
    assert (await call(stack, "DELETE", f"/responses/{made['id']}"))[0] == 200
    await assert_is_booked(stack, await entry_of(stack))


@pytest.mark.parametrize("by", ["timer", "delete"])
async def test_a_response_that_is_gone_is_charged_for_its_hold(stack: Stack, by: str) -> None:
    made = await create(stack, background=True, max_output_tokens=HELD)
    stack.simulator.kept.clear()
    if by == "timer":
        assert await (await timer_of(stack))() == 1
    else:
        assert (await call(stack, "DELETE", f"/responses/{made['id']}"))[0] == 404
    await assert_is_charged_for_the_hold(stack, await entry_of(stack), "response_gone")


async def test_a_path_that_a_backend_does_not_know_is_not_taken_for_a_response_that_is_gone(stack: Stack) -> None:
    await create(stack, background=True)
    body = {"error": {"code": "404", "message": "Resource not found"}}
    await stack.fault(deployment="responses", kind="status", status=404, body=body)
    await stack.fault(deployment="responses", kind="status", status=403, body=body)
    await stack.fault(deployment="responses", kind="status", status=418, body=body)
    timer = await timer_of(stack)
    assert [await timer() for _ in range(5)] == [0, 0, 0, 0, 1]
    await assert_is_booked(stack, await entry_of(stack))


@pytest.mark.parametrize("output", [None, [{"type": "message", "content": [{"text": " word" * 20}]}]])
@pytest.mark.parametrize("status", ["cancelled", "failed", "completed", "odd"])
async def test_a_response_that_ends_without_a_usage_is_never_free(stack: Stack, status: str, output: Any) -> None:
    made = await create(stack, background=True, max_output_tokens=HELD)
    lie = {"status": status, "usage": None, "output": output}
    await stack.fault(deployment="responses", kind="lie", body=lie)
    assert (await poll(stack, made["id"]))["status"] == status
    entry = await entry_of(stack)
    shown = 20 if output else 0 if status == "failed" else HELD
    assert (entry["estimated"], entry["usage"]["output"]) == (True, shown)
    assert entry["usage"]["input"] > 0


@pytest.mark.parametrize("background", ["true", 1, "yes"])
async def test_a_response_that_runs_on_is_settled_later_whatever_the_request_says(
    stack: Stack, background: Any
) -> None:
    await stack.fault(kind="lie", body={"status": "queued", "usage": None, "output": []})
    status, made = await call(
        stack, "POST", "/responses", {"model": "gpt-4o", "input": "Hello!", "background": background}
    )
    if status == 400:
        return  # refused before it is sent
    assert (await stack.entries(), await running(stack)) == ([], [made["id"]])
    assert (await poll(stack, made["id"]))["status"] == "completed"
    await assert_is_booked(stack, await entry_of(stack))


@pytest.mark.parametrize("stack_settings", [{"BACKEND_IDLE_TIMEOUT_SECONDS": "0.3"}], indirect=True)
@pytest.mark.parametrize("kind", ["break", "stall", "end"])
async def test_a_background_stream_that_breaks_is_settled_by_what_upstream_made(stack: Stack, kind: str) -> None:
    await stack.fault(kind=kind, after_chunks=5)
    body = await create(stack, stream=True, background=True)
    await stack.settled()
    assert b"response.completed" not in body
    assert await stack.entries() == []
    (response_id,) = await running(stack)
    assert (await poll(stack, response_id))["status"] == "in_progress"
    assert (await poll(stack, response_id))["status"] == "completed"
    await assert_is_booked(stack, await entry_of(stack))


async def test_a_stream_that_upstream_runs_in_the_background_is_settled_by_what_upstream_made(stack: Stack) -> None:
    begun = {"id": "resp_odd", "status": "in_progress", "background": True}
    delta = {"type": "response.output_text.delta", "item_id": "msg_1", "delta": " word"}
    await stack.fault(kind="script", events=[{"type": "response.created", "response": begun}, delta])
    await create(stack, stream=True)
    await stack.settled()
    assert (await stack.entries(), await running(stack)) == ([], ["resp_odd"])
    stack.simulator.kept["resp_odd"] = next(iter(stack.simulator.kept.values()))
    assert (await poll(stack, "resp_odd"))["status"] == "completed"
    await assert_is_booked(stack, await entry_of(stack))


async def test_a_background_stream_that_ends_at_once_without_a_usage_is_asked_for(stack: Stack) -> None:
    ended = {"id": "resp_odd", "status": "completed", "usage": None}
    await stack.fault(kind="script", events=[{"type": "response.completed", "response": ended}])
    await create(stack, stream=True, background=True)
    await stack.settled()
    assert (await stack.entries(), await running(stack)) == ([], ["resp_odd"])


async def test_a_caller_that_leaves_while_the_id_is_stored_does_not_stop_that(stack: Stack) -> None:
    directory = (await timer_of(stack))._directory
    assert isinstance(directory, TableResponses)
    directory._store = slow = Slow()
    await stack.fault(kind="stall", after_chunks=3)
    body = {"model": "gpt-4o", "input": "Hello!", "background": True, "stream": True}
    async with stack.session.post(
        f"{stack.url}/openai/v1/responses", json=body, headers={"api-key": stack.key}
    ) as response:
        await slow.is_asked.wait()
        response.close()
    await eventually(lambda: stack.simulator.records[0].outcome == "client_disconnected")
    slow.may_go_on.set()
    await eventually(lambda: slow.has_stored)
    assert len(await running(stack)) == 1


async def test_the_timer_finds_a_stream_whose_process_died(stack: Stack) -> None:
    await stack.fault(kind="stall", after_chunks=5)
    body = {"model": "gpt-4o", "input": "Hello!", "background": True, "stream": True}
    async with stack.session.post(
        f"{stack.url}/openai/v1/responses", json=body, headers={"api-key": stack.key}
    ) as response:
        await response.content.readuntil(b"output_text.delta")  # the stream goes on, as if its process were frozen
        timer = await timer_of(stack)
        assert [await timer(), await timer()] == [0, 1]
        (entry,) = await stack.entries()
        await stack.release_faults()
        assert b"response.completed" in await response.read()
    assert await entry_of(stack) == entry
    await assert_is_booked(stack, entry)
    assert await running(stack) == []


async def test_a_background_stream_that_ends_well_is_settled_once_and_not_asked_for(stack: Stack) -> None:
    body = await create(stack, stream=True, background=True)
    assert b"response.completed" in body
    await assert_is_booked(stack, await entry_of(stack))
    assert await running(stack) == []


async def test_timers_and_readers_at_the_same_time_settle_once(stack: Stack) -> None:
    made = await create(stack, background=True)
    await poll(stack, made["id"])
    timer = await timer_of(stack)
    await asyncio.gather(
        timer(), timer(), *(poll(stack, made["id"]) for _ in range(4)),
        call(stack, "GET", f"/responses/{made['id']}", query="?stream=true"),
        call(stack, "DELETE", f"/responses/{made['id']}"),
    )  # fmt: skip
    await assert_is_booked(stack, await entry_of(stack))
    assert await running(stack) == []


async def test_a_response_that_ends_after_its_reservation_has_expired_is_corrected_once(stack: Stack) -> None:
    made = await create(stack, background=True)
    gateway = await stack.gateway()
    lanes = [lane async for lane in gateway.ledger.books.lanes(f"{gateway.clock.now():%Y-%m}", stack.tenant)]
    (held,) = [each async for each in gateway.ledger.books.reservations(lanes[0])]
    policy = gateway.ledger.expire_reservations
    await gateway.ledger.books.expire(held, await policy._outcome(held, (await tenant_of(stack)).expiry_policy))
    await asyncio.gather(*(poll(stack, made["id"]) for _ in range(4)), (await timer_of(stack))())
    await poll(stack, made["id"])
    await stack.settled()
    expired, late = await stack.entries()
    record = (await asked(stack))[-1]
    assert (expired["kind"], late["kind"]) == ("expire", "late")
    assert expired["tokens"] + late["tokens"] == record["usage"]["total_tokens"]


async def tenant_of(stack: Stack) -> Any:
    return (await (await stack.gateway()).tenancy.tenants.get(stack.tenant)).value


async def test_another_tenants_answer_never_settles_a_response(stack: Stack) -> None:
    made = await create(stack, background=True)
    other = await stack.register(f"{stack.tenant[:20]}-other")
    await stack.fault(kind="lie", body={"id": made["id"]})
    body = {"model": "gpt-4o", "input": "Hello!"}
    assert (await call(stack, "POST", "/responses", body, key=other))[0] == 200
    await poll(stack, made["id"])
    await call(stack, "GET", f"/responses/{made['id']}", key=other)
    assert await stack.entries() == []
    await poll(stack, made["id"])
    await assert_is_booked(stack, await entry_of(stack))


async def test_a_second_response_of_the_same_id_is_charged_for_its_hold(stack: Stack) -> None:
    first = await create(stack, background=True)
    await stack.fault(kind="lie", body={"id": first["id"]})
    await create(stack, background=True, max_output_tokens=HELD)
    entry = await entry_of(stack)
    assert (entry["error_code"], entry["estimated"], entry["usage"]["output"]) == ("response_not_deferred", True, HELD)
    assert await running(stack) == [first["id"]]


@pytest.mark.parametrize("stream", [False, True])
async def test_a_response_that_cannot_be_noted_is_charged_for_its_hold_and_not_shown(
    stack: Stack, stream: bool
) -> None:
    directory = (await timer_of(stack))._directory
    assert isinstance(directory, TableResponses)
    before, directory._store = directory._store, Unavailable()
    fields = {"background": True, "stream": stream, "max_output_tokens": HELD}
    status, answer = await call(stack, "POST", "/responses", {"model": "gpt-4o", "input": "Hello!", **fields})
    directory._store = before
    if stream:
        assert b'"code":"ledger_unavailable"' in answer
        assert b"resp_" not in answer
    else:
        assert (status, answer["error"]["code"]) == (503, "ledger_unavailable")
    await assert_is_charged_for_the_hold(stack, await entry_of(stack), "response_not_deferred")


async def test_an_id_of_odd_characters_is_asked_for_as_it_is(stack: Stack) -> None:
    odd = "resp_a/b?c#d=e%2F~"
    await stack.fault(kind="lie", body={"id": odd})
    await create(stack, background=True)
    (kept,) = stack.simulator.kept.values()
    stack.simulator.kept = {odd: kept}
    timer = await timer_of(stack)
    assert [await timer(), await timer(), await timer()] == [0, 1, 0]
    await assert_is_booked(stack, await entry_of(stack))


class Slow(InMemoryTableStore):
    """A store that waits before it stores."""

    def __init__(self) -> None:
        super().__init__()
        self.is_asked, self.may_go_on = asyncio.Event(), asyncio.Event()
        self.has_stored = False

    async def submit(self, table: str, partition: str, changes: Sequence[RowChange], commit_id: str) -> str:
        self.is_asked.set()
        await self.may_go_on.wait()
        self.has_stored = table == "responses" or self.has_stored
        return await super().submit(table, partition, changes, commit_id)


class Unavailable(InMemoryTableStore):
    """A store that cannot be reached."""

    async def create_table(self, table: str) -> None:
        raise AnswerLost(table)


@pytest.mark.parametrize("by", ["caller", "backend"])
async def test_a_stream_that_was_cut_off_is_read_nowhere_else(stack: Stack, by: str) -> None:
    """Its delivered part is charged, and upstream may store the whole."""
    await stack.manage("PATCH", f"/manage/tenants/{stack.tenant}", {"on_disconnect": "cut"})
    await stack.fault(kind="stall" if by == "caller" else "break", after_chunks=4)
    body, headers = {"model": "gpt-4o", "input": "Hi", "stream": True}, {"api-key": stack.key}
    async with stack.session.post(f"{stack.url}/openai/v1/responses", json=body, headers=headers) as answer:
        created = await answer.content.readuntil(b"\n\n")
        if by == "backend":
            await answer.read()
    outcome = "client_disconnected" if by == "caller" else "break"
    await eventually(lambda: stack.simulator.records[0].outcome == outcome)
    entry = await entry_of(stack)
    assert (entry["estimated"], entry["usage"]["output"] < 40) == (True, True)
    (response_id,) = stack.simulator.kept
    assert response_id.encode() in created
    for method, path in (("GET", ""), ("GET", "/input_items"), ("DELETE", "")):
        assert (await call(stack, method, f"/responses/{response_id}{path}"))[0] == 404
    follow = {"model": "gpt-4o", "input": "Repeat it.", "previous_response_id": response_id}
    assert (await call(stack, "POST", "/responses", follow))[0] == 404
