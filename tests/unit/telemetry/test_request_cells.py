"""Cells add up what requests measure, and are folded in time."""

from __future__ import annotations

import asyncio
from dataclasses import replace

from shared.application.telemetry.attempt_trace import AttemptTrace, gen_ai_operation
from shared.application.telemetry.request_cells import RequestCells, status_text
from shared.domain.ledger.entries import EntryKind, Outcome
from shared.domain.pricing.usage import Usage
from tests.tools.ledgers import reservation
from tests.tools.traces import Kept


def ended(status: int = 200, sent_at: float = 1.0, head_at: float = 1.2) -> AttemptTrace:
    return AttemptTrace(measure=None, sent_at=sent_at, head_at=head_at, ended_at=2.0, status=status)


def outcome(**fields: object) -> Outcome:
    usage = Usage(input=3, cached_input=2, output=5)
    return replace(Outcome(kind=EntryKind.CHARGE, usage=usage, status=200), **fields)  # type: ignore[arg-type]


async def test_each_type_of_token_is_added() -> None:
    kept = Kept()
    cells = RequestCells(kept)
    for _ in range(2):
        cells.add_attempt(ended(), reservation(), outcome())
    cells.fold()
    assert {key[2]: tokens for key, tokens in kept.sums["gateway.tokens"].items()} == {
        "input": 6, "cached_input": 4, "output": 10,
    }  # fmt: skip


async def test_an_attempt_that_was_never_sent_measures_no_answer() -> None:
    kept = Kept()
    cells = RequestCells(kept)
    cells.add_attempt(ended(sent_at=0.0), reservation(), outcome(usage=Usage()))
    cells.fold()
    assert kept.sums["gateway.upstream.responses"] == {}
    assert kept.sums["gateway.tokens"] == {}


def test_operations_have_the_names_of_the_conventions() -> None:
    named = {each: gen_ai_operation(each) for each in ("chat/completions", "completions", "responses", "embeddings")}
    assert [*named.values()] == ["chat", "text_completion", "chat", "embeddings"]


async def test_findings_of_a_prompt_and_of_an_answer_are_told_apart() -> None:
    kept = Kept()
    cells = RequestCells(kept)
    for status, found in ((400, "hate:filtered"), (200, "jailbreak:detected"), (200, "hate:low")):
        cells.add_attempt(ended(status), reservation(), outcome(content_filter=found))
    assert sorted(key[1] for key in kept.sums["gateway.content_filter"]) == ["completion", "prompt"]


async def test_cells_are_folded_within_a_second_without_another_request() -> None:
    kept = Kept()
    RequestCells(kept).add_request("acme", "chat", "chat/completions", 200, 0.001)
    async with asyncio.timeout(30):
        while not kept.sums["gateway.requests"]:  # noqa: ASYNC110 - there is no event to await
            await asyncio.sleep(0.01)
    assert sum(kept.sums["gateway.requests"].values()) == 1


async def test_the_number_of_cells_is_bounded() -> None:
    kept = Kept()
    cells = RequestCells(kept)
    for number in range(3000):
        cells.add_request(f"tenant-{number}", "chat", "chat/completions", 200, None)
    assert len(kept.sums["gateway.requests"]) >= 1000
    assert len(cells._requests) <= 1000
    cells.fold()
    assert sum(kept.sums["gateway.requests"].values()) == 3000


def test_a_status_of_no_class_is_another() -> None:
    assert [status_text(each) for each in (0, 200, 599, 600, 999, 99, -1)] == [
        "0", "200", "599", "other", "other", "other", "other",
    ]  # fmt: skip
