"""The usage report and the pages of entries change only by further fields, because callers depend on them."""

from __future__ import annotations

import json
import re
from pathlib import Path

from tests.tools.stack import ADMIN_KEY, Stack

_VARIES = (
    (re.compile(r"t-[0-9a-f]{12}(-[0-9a-f]{8})?"), "T"),
    (re.compile(r"[0-9a-f]{64}"), "HASH"),
    (re.compile(r"[0-9a-f]{32}"), "RID"),
    (re.compile(r"[0-9a-f]{10}\.[0-9a-f.]+"), "PRICES"),
    (re.compile(r'"\d{4}-\d\d-\d\dT[0-9:.]+Z"'), '"MOMENT"'),
    (re.compile(r'"\d{4}-\d\d-\d\d"'), '"DAY"'),
    (re.compile(r'"\d{4}-\d\d"'), '"MONTH"'),
    (re.compile(r'"latency_ms":\d+'), '"latency_ms":0'),
)


CORPUS = Path(__file__).parents[2] / "corpus" / "usage"


async def shown(stack: Stack, path: str, key: str = ADMIN_KEY) -> str:
    """Return an answer with indentation, and with a word in place of each value that varies."""
    async with stack.session.get(f"{stack.url}{path}", headers={"api-key": key}) as response:
        text = await response.text()
        assert response.status == 200, text
    for pattern, word in _VARIES:
        text = pattern.sub(word, text)
    document = json.loads(text)
    document.get("data", []).sort(key=_place)  # two lanes may write within the same millisecond
    return json.dumps(document, indent=2) + "\n"


def _place(entry: dict[str, int]) -> tuple[int, int]:
    return entry["lane"], entry["seq"]


def known(name: str) -> str:
    return (CORPUS / name).read_text()


async def test_the_report_of_a_month_without_requests_is_unchanged(stack: Stack) -> None:
    for path, key in ((f"/manage/tenants/{stack.tenant}", ADMIN_KEY), ("/me", stack.key)):
        assert await shown(stack, f"{path}/usage?period=2020-02&group_by=user", key) == known("report-of-nothing.json")


async def test_the_report_of_flagged_requests_is_unchanged(stack: Stack) -> None:
    path = f"/manage/tenants/{stack.tenant}"
    await stack.manage("PATCH", path, {"monthly_quota_tokens": 60_000, "monthly_budget_usd": "2"})
    await stack.chat("[annotate-prompt]", user="ann")
    await stack.chat("[filter-prompt]", user="bob")
    for each, key in ((path, ADMIN_KEY), ("/me", stack.key)):
        assert await shown(stack, f"{each}/usage?group_by=user,deployment,user", key) == known("report.json")


async def test_entries_of_every_kind_are_unchanged(stack: Stack) -> None:
    path = f"/manage/tenants/{stack.tenant}"
    await stack.manage("PATCH", path, {"monthly_quota_tokens": 60_000, "monthly_budget_usd": "2"})
    await stack.chat("[filter-prompt]", user="bob")
    await stack.manage("POST", f"{path}/grants", {"tokens": 5, "usd": "0.5", "reason": "launch", "grant_id": "g1"})
    assert await shown(stack, f"{path}/entries?limit=1") == known("entries-page.json")
    await stack.manage("PATCH", path, {"lanes": 2, "monthly_quota_tokens": 50_000, "reason": "paid"})
    await stack.chat(user="ann")
    assert await shown(stack, f"{path}/entries") == known("entries.json")
