"""The simulator may run for weeks: what it keeps of requests is bounded, and the newest is kept."""

from __future__ import annotations

import pytest

from local.simulator import answers
from local.simulator.records import Record, Records


def record(number: int) -> Record:
    return Record(number, "swedencentral", "gpt-4o", "/", "", stream=False)


def numbers(records: Records) -> list[int]:
    return [each.number for each in records]


def test_the_newest_records_are_kept_in_the_order_of_requests() -> None:
    records = Records(most=3)
    for number in range(5):
        records.add(record(number))
    assert numbers(records) == [2, 3, 4]
    assert (records[0].number, records[-1].number, len(records)) == (2, 4, 3)
    assert [each.number for each in records[1:]] == [3, 4]


def test_large_bodies_make_the_oldest_records_go_and_never_their_own() -> None:
    records = Records(most=10, most_body_bytes=100)
    for number, size in enumerate((60, 30, 20, 500)):
        records.add(made := record(number))
        records.add_body(made, {"size": size}, size)
        assert records[-1].body == {"size": size}
        assert numbers(records) == [[0], [0, 1], [1, 2], [3]][number]


def test_a_body_that_arrives_after_its_record_has_gone_counts_for_nothing() -> None:
    records = Records(most=1, most_body_bytes=100)
    slow, quick = record(0), record(1)
    records.add(slow)
    records.add(quick)
    records.add_body(slow, "late", 1000)
    records.add_body(quick, "small", 100)
    assert (slow.body, numbers(records)) == ("late", [1])
    records.clear()
    records.add_body(quick, "small", 1000)
    records.add(record(2))
    assert numbers(records) == [2]


def test_a_prompt_that_was_forgotten_is_not_cached_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(answers, "MOST_PROMPTS", 2)
    cache = answers.PromptCache()

    def cached(text: str) -> int:
        return cache.cached_tokens("swedencentral", "gpt-4o", text, 2048)

    assert [cached("a"), cached("b"), cached("a"), cached("c")] == [0, 0, 2048, 0]
    assert [cached("b"), cached("c")] == [0, 2048]
