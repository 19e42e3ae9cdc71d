"""Controls of a local run that need no tenant: timers by hand, faults of the simulator. No foreign page uses them."""

from __future__ import annotations

import aiohttp
import pytest

from tests.tools.stack import HOST_KEY, Stack

TIMER = "/admin/functions/expire_reservations"
OWN_KEY = {"x-functions-key": HOST_KEY}


async def status(method: str, url: str, **headers: str) -> int:
    """Send one request as a program that has no key but those in `headers`. Returns the status."""
    sent = {name.replace("_", "-"): text for name, text in headers.items()}
    async with aiohttp.ClientSession() as session, session.request(method, url, headers=sent, data="{}") as answer:
        return answer.status


@pytest.mark.parametrize(
    "path", [TIMER, TIMER.upper(), "/Admin/Functions/nothing", f"{TIMER}?code=", f"{TIMER}?code=x"]
)
async def test_a_timer_is_started_with_the_hosts_key_only(stack: Stack, path: str) -> None:
    for headers in ({}, {"x_functions_key": ""}, {"x_functions_key": "x"}, {"api_key": stack.key}):
        assert await status("POST", stack.url + path, **headers) == 401


async def test_the_hosts_key_starts_a_timer(stack: Stack) -> None:
    assert await status("POST", stack.url + TIMER, x_functions_key=HOST_KEY) == 202
    assert await status("POST", f"{stack.url}{TIMER}?code={HOST_KEY}", origin=stack.url) == 202
    assert await status("POST", f"{stack.url}/admin/functions/nothing", x_functions_key=HOST_KEY) == 404


FOREIGN = [
    {"origin": "https://evil.example"}, {"origin": "null"}, {"origin": "http://localhost:3000"}, {"origin": ""},
    {"host": "evil.example"}, {"host": "evil.example:7071"}, {"host": "127.0.0.1.evil.example"}, {"host": "[::"},
]  # fmt: skip


@pytest.mark.parametrize("headers", FOREIGN, ids=str)
async def test_a_page_of_another_site_controls_nothing(stack: Stack, headers: dict[str, str]) -> None:
    assert await status("POST", stack.url + TIMER, x_functions_key=HOST_KEY, **headers) == 403
    for method, path in (("GET", "/_sim/requests"), ("POST", "/_sim/faults"), ("DELETE", "/_sim/faults")):
        assert await status(method, stack.simulator_url + path, **headers) == 403


async def test_programs_of_this_machine_control_the_simulator(stack: Stack) -> None:
    port = stack.simulator_url.rpartition(":")[2]
    for headers in ({}, {"host": f"localhost:{port}"}, {"host": f"[::1]:{port}"}, {"origin": stack.simulator_url}):
        assert await status("GET", f"{stack.simulator_url}/_sim/requests", **headers) == 200
