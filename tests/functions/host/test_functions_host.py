"""The local functions host behaves as the real one. It refuses functions that the real worker refuses."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import azure.functions as func
import pytest
from azurefunctions.extensions.http.fastapi import Request, Response, StreamingResponse

from local.functions_host.indexing import FunctionLoadError, TimerFunction, index, load_app, route_prefix_of
from local.functions_host.routing import Router
from local.functions_host.server import FunctionsHost, load_local_settings
from local.functions_host.timers import Timers, next_occurrence
from tests.tools.stack import eventually


def app_with(handler: Any, name: str = "f", route: str = "f", **options: Any) -> func.FunctionApp:
    app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)
    handler.__name__ = name
    app.route(route, **options)(handler)
    return app


async def good(req: Request) -> Response:
    return Response(req.path_params.get("x", ""))


async def old_style(req: func.HttpRequest) -> Response: ...


async def union(req: Request) -> Response | StreamingResponse: ...


async def wrong_parameter(request: Request) -> Response: ...


@pytest.mark.parametrize("handler", [old_style, union, wrong_parameter])
def test_a_function_that_the_worker_refuses_is_refused(handler: Any) -> None:
    with pytest.raises(FunctionLoadError):
        index(app_with(handler), "")


def test_a_timer_that_the_worker_refuses_is_refused() -> None:
    app = func.FunctionApp()

    @app.timer_trigger(schedule="0 * * * * *", arg_name="timer")
    def bad(timer: Request) -> None: ...

    with pytest.raises(FunctionLoadError):
        index(app, "")


def test_a_module_must_have_one_app() -> None:
    with pytest.raises(FunctionLoadError, match="exactly one"):
        load_app("json")


def test_the_route_prefix_is_that_of_host_json(tmp_path: Path) -> None:
    host_json = tmp_path / "host.json"
    assert route_prefix_of(host_json) == "api"
    host_json.write_text(json.dumps({"extensions": {"http": {"routePrefix": "/v2/"}}}))
    assert route_prefix_of(host_json) == "v2"
    (http,), _ = index(app_with(_copy(good)), "v2")
    assert http.route == "v2/f"


def test_routes_match_by_name_in_any_case_with_the_right_method() -> None:
    app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)
    for name, route, methods in (
        ("Zulu", "things/{x}", ["GET"]),
        ("alpha", "things/{y}", ["GET"]),
        ("beta", "files/{*rest}", None),
        ("gamma", "maybe/{z?}", ["POST"]),
    ):
        handler = _copy(good)
        handler.__name__ = name
        app.route(route, methods=methods)(handler)
    router = Router(index(app, "")[0])

    def match(method: str, path: bytes) -> tuple[str, dict[str, str]] | None:
        found = router.match(method, path)
        return (found[0].name, found[1]) if found else None

    assert match("GET", b"/THINGS/a%20b") == ("alpha", {"y": "a b"})
    assert match("GET", b"/things/a%2Fb") == ("alpha", {"y": "a%2Fb"})
    assert match("POST", b"/things/1") is None
    assert match("GET", b"/things/1/2") is None
    assert match("DELETE", b"/files/a/b") == ("beta", {"rest": "a/b"})
    assert match("POST", b"/maybe") == ("gamma", {})
    assert match("POST", b"/maybe/1") == ("gamma", {"z": "1"})
    assert match("GET", b"/x/../things/./%2e%2e/things/7") == ("alpha", {"y": "7"})


def test_routes_may_not_begin_with_a_prefix_of_the_host() -> None:
    with pytest.raises(ValueError, match="reserved"):
        Router(index(app_with(_copy(good), route="admin/x"), "")[0])


async def call(host: FunctionsHost, path: str, **headers: str) -> int:
    statuses: list[int] = []
    target, _, query = path.partition("?")
    scope = {
        "type": "http",
        "method": "GET",
        "path": target,
        "raw_path": target.encode(),
        "query_string": query.encode(),
        "headers": [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()],
        "server": ("h", 1),
        "scheme": "http",
    }

    async def send(message: Any) -> None:
        if message["type"] == "http.response.start":
            statuses.append(message["status"])

    await host(scope, _no_message, send)
    return statuses[0]


async def _no_message() -> Any:
    return {"type": "http.request"}


async def test_functions_that_are_not_anonymous_need_the_hosts_key(tmp_path: Path) -> None:
    http, _ = index(app_with(_copy(good), auth_level=func.AuthLevel.FUNCTION), "")
    host = FunctionsHost(http, Timers([], tmp_path), "the-key", _nothing)
    assert await call(host, "/f") == 401
    assert await call(host, "/f", x_functions_key="wrong") == 401
    assert await call(host, "/f", x_functions_key="the-key") == 200
    assert await call(host, "/f?code=the-key") == 200
    assert await call(FunctionsHost(http, Timers([], tmp_path), "", _nothing), "/f?code=") == 401


async def test_a_function_that_fails_or_returns_nothing_is_a_500(tmp_path: Path) -> None:
    async def fails(req: Request) -> Response:
        raise RuntimeError

    async def returns_nothing(req: Request) -> Response:
        return None

    for handler in (fails, returns_nothing):
        http, _ = index(app_with(handler), "")
        assert await call(FunctionsHost(http, Timers([], tmp_path), "", _nothing), "/f") == 500


def test_local_settings_are_read_from_their_values() -> None:
    assert load_local_settings('{"IsEncrypted": false, "Values": {"A": "1"}}') == {"A": "1"}
    assert load_local_settings(Path("local.settings.json.example").read_text())["FUNCTIONS_WORKER_RUNTIME"] == "python"


@pytest.mark.parametrize(
    ("schedule", "following"),
    [
        ("0 * * * * *", "2026-11-22T12:01:00+00:00"),
        ("30 */5 * * * *", "2026-11-22T12:00:30+00:00"),
        ("0 0 0 1,25-31 * *", "2026-11-25T00:00:00+00:00"),
        ("0 0 2 3 * *", "2026-12-03T02:00:00+00:00"),
        ("0 0 0 * * 0", "2026-11-29T00:00:00+00:00"),
        ("0 0 0 13 * 5", "2027-08-13T00:00:00+00:00"),
    ],
)
def test_schedules_have_six_fields_and_both_days_must_fit(schedule: str, following: str) -> None:
    assert next_occurrence(schedule, datetime(2026, 11, 22, 12, tzinfo=UTC)).isoformat() == following


class Recorder:
    """A timer function that records its runs."""

    def __init__(self, schedule: str = "0 0 0 1 1 *", *, run_on_startup: bool = False) -> None:
        self.past_due: list[bool] = []
        self.running = 0
        self.most_at_once = 0
        self.gate = asyncio.Event()
        self.gate.set()
        self.function = TimerFunction("tick", schedule, run_on_startup, self.run, "timer")

    async def run(self, timer: Any) -> None:
        self.running += 1
        self.most_at_once = max(self.most_at_once, self.running)
        await self.gate.wait()
        self.past_due.append(timer.past_due)
        self.running -= 1


async def running(timers: Timers, until: Callable[[], bool]) -> None:
    task = asyncio.create_task(timers.run())
    try:
        await eventually(until)
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_a_past_due_timer_runs_once_and_its_status_is_kept(tmp_path: Path) -> None:
    first = Recorder()
    await running(Timers([first.function], tmp_path), (tmp_path / "tick.json").exists)
    assert first.past_due == []
    status = json.loads((tmp_path / "tick.json").read_text())
    (tmp_path / "tick.json").write_text(json.dumps({**status, "Next": "2020-01-01T00:00:00+00:00"}))
    second = Recorder()
    await running(Timers([second.function], tmp_path), lambda: second.past_due == [True])
    await running(Timers([second.function], tmp_path), lambda: second.running == 0)
    assert second.past_due == [True]
    assert datetime.fromisoformat(json.loads((tmp_path / "tick.json").read_text())["Next"]) > datetime.now(UTC)


async def test_a_timer_runs_on_its_schedule_and_at_startup_if_it_asks(tmp_path: Path) -> None:
    recorder = Recorder("* * * * * *", run_on_startup=True)
    await running(Timers([recorder.function], tmp_path), lambda: len(recorder.past_due) >= 2)
    assert recorder.past_due[:2] == [False, False]


async def test_a_timer_that_is_disabled_by_its_setting_has_no_schedule(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AzureWebJobs.tick.Disabled", "true")
    disabled, other = Recorder("* * * * * *", run_on_startup=True), Recorder("* * * * * *")
    functions = [disabled.function, replace(other.function, name="tock")]
    await running(Timers(functions, tmp_path), lambda: len(other.past_due) >= 2)
    assert disabled.past_due == []
    timers = Timers(functions, tmp_path)
    assert timers.start_by_hand("tick")
    await timers.finish()
    assert disabled.past_due == [False]


async def test_runs_never_overlap_and_a_failing_one_does_not_stop_the_timer(tmp_path: Path) -> None:
    recorder = Recorder()
    recorder.gate.clear()
    timers = Timers([recorder.function], tmp_path)
    for _ in range(3):
        assert timers.start_by_hand("TICK")
    await eventually(lambda: recorder.running == 1)
    recorder.gate.set()
    await timers.finish()
    assert (len(recorder.past_due), recorder.most_at_once) == (3, 1)
    assert not timers.start_by_hand("tock")

    def fails(timer: Any) -> None:
        raise RuntimeError

    failing = Timers([TimerFunction("bad", "0 0 0 1 1 *", False, fails, "timer")], tmp_path)
    failing.start_by_hand("bad")
    await failing.finish()


async def test_only_one_process_runs_the_timers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("local.functions_host.timers.OWNERSHIP_RETRY_SECONDS", 0.01)
    first, second = Recorder("* * * * * *"), Recorder("* * * * * *", run_on_startup=True)
    owner = asyncio.create_task(Timers([first.function], tmp_path).run())
    await eventually((tmp_path / "tick.json").exists)
    heir = asyncio.create_task(Timers([second.function], tmp_path).run())
    await eventually(lambda: bool(first.past_due))
    assert second.past_due == []
    owner.cancel()
    await asyncio.wait([owner])
    await eventually(lambda: bool(second.past_due))
    heir.cancel()
    await asyncio.wait([heir])


def _copy(handler: Callable[..., Awaitable[Any]]) -> Any:
    async def copy(req: Request) -> Response:
        response: Response = await handler(req)
        return response

    return copy


async def _nothing() -> None:
    return None
