"""Documents, prices and deletions in a package are as events of its audit log tell, or somebody changed them."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from shared.adapters.on_disk.evidence_package import EvidencePackage
from shared.application.evidence.read_documents import DocumentsMove
from shared.application.evidence.replay_documents import ReplayDocuments
from shared.cli.offline import Question, verify_files
from shared.cli.verification import Verification
from shared.composition.gateway import Gateway, build
from shared.domain.audit.hash_chain import canonical
from shared.domain.identifiers import rid_at
from shared.settings import read_settings
from tests.adversary.auditors.test_tampered_month import complaints
from tests.tools.audit_logs import event_at
from tests.tools.events import told
from tests.tools.finished_month import (
    PERIOD,
    FinishedMonth,
    MonthClock,
    _Month,
    copied,
    environment,
    export_evidence,
    write_key,
    write_month,
)
from tests.tools.tampering import Books, Package

DOCUMENTS = "documents.jsonl"
BOOKS = f"periods/{PERIOD}.gz"
LOG = "audit/2026-11.jsonl"
Row = dict[str, Any]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> FinishedMonth:
    return write_month(tmp_path_factory.mktemp("month"))


@pytest.fixture
def month(finished: FinishedMonth, tmp_path: Path) -> FinishedMonth:
    return copied(finished, tmp_path)


def rows_of(package: Package) -> list[Row]:
    return [json.loads(line) for line in package.files[DOCUMENTS].splitlines()]


def write_rows(package: Package, rows: list[Row]) -> None:
    package.files[DOCUMENTS] = b"".join(canonical(row) + b"\n" for row in rows)
    package.write()


def first(rows: list[Row], table: str) -> Row:
    return next(row for row in rows if row["place"].startswith(f"{table}/"))


def edited_price(rows: list[Row]) -> None:
    """Change the text of a price, and the hash with it."""
    row = first(rows, "prices")
    row["text"] = row["text"].replace("10.00", "0.01").replace("2.50", "0.01")
    row["sha256"] = hashlib.sha256(row["text"].encode()).hexdigest()


def other_text(rows: list[Row]) -> None:
    first(rows, "prices")["text"] += " "


CHANGES: dict[str, tuple[Callable[[list[Row]], object], str]] = {
    "a document is left out": (lambda rows: rows.remove(first(rows, "tenants")), "left it there"),
    "a document is another": (lambda rows: first(rows, "tenants").update(sha256="0" * 64), "is not as event"),
    "a document names another event": (lambda rows: first(rows, "tenants").update(event_id=""), "written again"),
    "a document is said to be removed": (lambda rows: first(rows, "tenants").update(sha256=""), "left it there"),
    "a removal names no event": (
        lambda rows: first(rows, "tenants").update(sha256="", event_id="x"),
        "was removed with event x, which is missing",
    ),
    "a document is added": (
        lambda rows: rows.append({"event_id": "x", "place": "tenants/zz/tenant", "sha256": "0" * 64}),
        "was written with event x, which is missing",
    ),
    "a price is another": (edited_price, "is not as event"),
    "a price has another text": (other_text, "is not in its form or order"),
    "a price has no text": (lambda rows: first(rows, "prices").pop("text"), "is not in its form or order"),
    "the order is another": (lambda rows: rows.reverse(), "is not in its form or order"),
    "a property is a number": (lambda rows: first(rows, "tenants").update(sha256=1), "is not in its form or order"),
    "a place is none": (lambda rows: rows[0].update(place="x"), "is not in its form or order"),
    "there are no documents": (lambda rows: rows.clear(), "left it there"),
}


@pytest.mark.parametrize(("change", "message"), CHANGES.values(), ids=CHANGES)
def test_each_change_of_documents_is_found(
    change: Callable[[list[Row]], object], message: str, month: FinishedMonth
) -> None:
    package = Package(month.package)
    rows = rows_of(package)
    change(rows)
    write_rows(package, rows)
    assert any(message in each for each in complaints(month, month.package, checkpoints=False))


def test_a_package_without_documents_is_told(month: FinishedMonth) -> None:
    package = Package(month.package)
    del package.files[DOCUMENTS]
    package.write()
    assert any("documents.jsonl is missing" in each for each in complaints(month, month.package, checkpoints=False))


UNNAMED: Row = {
    "model": "gpt-9",
    "meter": "output",
    "usd_per_million": "1.00",
    "effective_from": "2020-01-01T00:00:00Z",
}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda prices: prices.append({**prices[0], **UNNAMED}), "has a price that no document has"),
        (lambda prices: prices.pop(), "lacks a price that a document has"),
        (lambda prices: prices[0].update(source="a list"), "has a price that no document has"),
        (lambda prices: prices.append(prices[0]), "has a price that no document has"),
        (lambda prices: prices.append({**prices[0], "usd_per_million": "9.99"}), "contradict each other"),
    ],
    ids=["is added", "is removed", "has another source", "is there twice", "contradicts another"],
)
def test_each_change_of_prices_that_no_entry_names_is_found(
    change: Callable[[list[Row]], object], message: str, month: FinishedMonth
) -> None:
    package = Package(month.package)
    books = Books.read(package.files[BOOKS])
    change(books.head["prices"])
    package.files[BOOKS] = books.content()
    package.write()
    assert any(message in each for each in complaints(month, month.package, checkpoints=False))


def test_a_price_under_the_key_of_another_is_told(month: FinishedMonth) -> None:
    package = Package(month.package)
    rows = rows_of(package)
    first(rows, "prices")["place"] += "x"
    write_rows(package, rows)
    assert any("belongs to the row" in each for each in complaints(month, month.package, checkpoints=False))


def test_an_event_without_a_method_is_told_also_without_a_key(month: FinishedMonth) -> None:
    package = Package(month.package)
    lines = package.files[LOG].splitlines()
    fields = json.loads(lines[3])
    for name in ("method", "key_version", "mac"):
        del fields[name]
    lines[3] = canonical(fields)
    package.files[LOG] = b"\n".join(lines) + b"\n"
    package.write()
    assert any("states no method" in each for each in complaints(month, month.package, checkpoints=False))


# What happened at the moment of the export


def package_of(
    folder: Path, act: Callable[[Gateway, MonthClock], Awaitable[None]], *, anchors: int = 1, **settings: str
) -> FinishedMonth:
    """Configure a gateway, let it act, and export the evidence. The acts come after the anchors if `anchors` is 1."""
    signing, public = write_key(folder)
    names = ("books", "early", "checkpoints", "package", "proofs", "of_acme")
    month = FinishedMonth(**{name: folder / name for name in names}, public_key=public, signing_key=signing)

    async def write() -> None:
        clock = MonthClock()
        gateway = await build(read_settings(), clock)
        made = _Month(gateway, clock)
        try:
            await made._configure()
            await gateway.ledger.open_period()
            clock.moment = datetime(2026, 11, 22, 13, tzinfo=UTC)  # the events of the configuration are of this day
            await made.anchor()
            await act(gateway, clock)
            await made.anchor(anchors - 1)
            await export_evidence(gateway, month.package, None)
        finally:
            await gateway.aclose()

    with environment(AUDIT_SIGNING_KEY_FILE=str(signing), AUDIT_ANCHOR_ORIGIN="tallygate/books", **settings):
        asyncio.run(write())
    return month


def verified(month: FinishedMonth, *, has_key: bool = True) -> Verification:
    question = Question(archive=month.package, public_keys=[month.public_key] if has_key else [])
    (result,) = asyncio.run(verify_files(question, lambda _done, _total: None))
    return result


async def rename(gateway: Gateway, clock: MonthClock) -> None:
    found = await gateway.tenancy.tenants.get("bolt")
    assert found is not None
    changed = replace(found.value, name="Bolt AG")
    event = replace(told(before=found.value, after=changed), event_id=rid_at(clock.now()), at=clock.now())
    await gateway.tenancy.tenants._tenants.replace(changed, found.etag, event)


async def remove_key(gateway: Gateway, clock: MonthClock) -> None:
    key = (await gateway.tenancy.keys._keys.list("bolt")).readable[0]
    await gateway.tenancy.keys._keys.remove(key, replace(told(before=key), event_id=rid_at(clock.now())))


@pytest.mark.parametrize("act", [rename, remove_key])
def test_a_change_whose_event_is_not_chained_yet_is_open(
    act: Callable[[Gateway, MonthClock], Awaitable[None]], tmp_path: Path
) -> None:
    month = package_of(tmp_path, act)
    result = verified(month)
    assert (result.findings, result.status) == ([], 2)
    assert "1 documents: the events of their newest changes were not chained yet" in [
        each.reason for each in result.not_checked
    ]
    package = Package(month.package)
    rows = rows_of(package)
    (row,) = [row for row in rows if row["event_id"] > rid_at(datetime(2026, 11, 22, 12, 30, tzinfo=UTC))]
    row["event_id"] = rid_at(datetime(2026, 11, 22, 12, 30, tzinfo=UTC))  # too old to wait
    write_rows(package, rows)
    assert [each.invariant for each in verified(month).findings] == ["I19"]
    assert verified(month, has_key=False).findings == []


def test_documents_that_change_while_the_log_is_copied_are_copied_again(tmp_path: Path) -> None:
    async def act(gateway: Gateway, clock: MonthClock) -> None:
        export: Any = gateway.evidence._audit
        write_log = export._write_log

        async def change_first(*arguments: Any) -> Any:
            export._write_log = write_log
            await rename(gateway, clock)
            return await write_log(*arguments)

        export._write_log = change_first

    assert verified(package_of(tmp_path, act)).findings == []


def test_documents_that_always_change_and_prices_that_change_end_the_export(tmp_path: Path) -> None:
    async def always(gateway: Gateway, clock: MonthClock) -> None:
        export: Any = gateway.evidence._audit
        write_log = export._write_log

        async def change_first(*arguments: Any) -> Any:
            clock.later(seconds=1)
            found = await gateway.tenancy.tenants.get("bolt")
            assert found is not None
            changed = replace(found.value, name=f"Bolt {clock.now()}")
            await gateway.tenancy.tenants._tenants.replace(changed, found.etag, told(before=found.value, after=changed))
            return await write_log(*arguments)

        export._write_log = change_first

    async def prices(gateway: Gateway, _: MonthClock) -> None:
        books: Any = gateway.evidence._books
        export = books.export

        async def price_first(*arguments: Any, **named: Any) -> Any:
            (price, *_) = (await gateway.pricing.prices._store.load()).readable
            await gateway.pricing.prices._store.insert(replace(price, model="gpt-9"), told())
            return await export(*arguments, **named)

        books.export = price_first

    for number, act in enumerate((always, prices)):
        (tmp_path / str(number)).mkdir()
        with pytest.raises(DocumentsMove, match="Run it again"):
            package_of(tmp_path / str(number), act)


# Retention


async def august(gateway: Gateway, clock: MonthClock) -> None:
    events = [event_at(datetime(2026, 8, day, tzinfo=UTC), "x") for day in (1, 2, 3)]
    await gateway.audit.chain.append("2026-08", events)


async def deleted(gateway: Gateway, clock: MonthClock) -> None:
    await august(gateway, clock)
    assert await gateway.audit.periods.expire() >= 3


def test_a_deletion_by_retention_is_proved_by_its_event(tmp_path: Path) -> None:
    result = verified(package_of(tmp_path, deleted, anchors=2, AUDIT_RETENTION_MONTHS="1"))
    assert (result.findings, result.status) == ([], 0)
    assert any(
        each.startswith("Retention deleted the first 3 events of the audit log of 2026-08: event ")
        for each in result.proved
    )
    assert any("none of them was changed or removed" in each and "2026-11" in each for each in result.proved)
    assert not any("2026-08" in each and "anchored" in each for each in result.proved)


def cut(month: FinishedMonth, name: str, count: int) -> None:
    """Remove the first events of a log, as if retention had deleted them."""
    package = Package(month.package)
    head, *lines = package.files[name].splitlines()
    stated = json.loads(head)
    stated["deleted"] = {"seq": count, "head": json.loads(lines[count - 1])["hash"]}
    package.files[name] = b"".join(each + b"\n" for each in (canonical(stated), *lines[count:]))
    package.write()


@pytest.mark.parametrize("name", ["audit/2026-08.jsonl", LOG])
def test_events_that_no_event_says_were_deleted_are_missing(name: str, tmp_path: Path) -> None:
    month = package_of(tmp_path, august, anchors=2)
    cut(month, name, 2)
    assert (
        f"audit log of {name[6:13]}: the first 2 events are missing, and no event tells that retention deleted them"
        in [each.message for each in verified(month).findings]
    )


def test_a_deletion_whose_event_may_be_deleted_is_open(tmp_path: Path) -> None:
    """Earlier versions did not tell a deletion again before its event was deleted."""

    async def act(gateway: Gateway, clock: MonthClock) -> None:
        july = [event_at(datetime(2026, 7, day, tzinfo=UTC), "x") for day in (1, 2, 3)]
        await gateway.audit.chain.append("2026-07", july)
        await deleted(gateway, clock)

    month = package_of(tmp_path, act, anchors=2, AUDIT_RETENTION_MONTHS="1")
    assert verified(month).status == 0
    package = Package(month.package)
    stated = json.loads(package.files["audit/2026-07.jsonl"])
    stated["deleted"]["head"] = stated["head"] = "0" * 64
    package.files["audit/2026-07.jsonl"] = canonical(stated) + b"\n"
    package.write()
    reasons = [each.reason for each in verified(month).not_checked if each.is_open]
    assert any("if retention deleted the first 3 events of the audit log of 2026-07" in each for each in reasons)


def test_a_deletion_that_waits_to_be_told_ends_the_export(tmp_path: Path) -> None:
    with pytest.raises(DocumentsMove):
        package_of(tmp_path, deleted, AUDIT_RETENTION_MONTHS="1")


def test_documents_whose_events_retention_deleted_are_told(tmp_path: Path) -> None:
    old = rid_at(datetime(2026, 8, 1, tzinfo=UTC))
    line = canonical({"event_id": old, "place": "tenants/old/tenant", "sha256": "0" * 64})
    for deletions, findings in ((["2026-08"], 0), ([], 1)):
        replay = ReplayDocuments("2026-11-01T00:00:00.000Z")
        assert len([*replay([line], deletions)]) == findings
        assert len([*replay.not_checked()]) == 1 - findings


def test_a_document_that_changed_between_two_events_is_told() -> None:
    replay = ReplayDocuments("")
    for number, before in enumerate(("", "x")):
        at = rid_at(datetime(2026, 10, 1, tzinfo=UTC) + timedelta(days=number))
        replay.tell(
            json.dumps({"event_id": at, "place": "tenants/a/tenant", "before_sha256": before, "after_sha256": "y"})
        )
    line = canonical({"event_id": at, "place": "tenants/a/tenant", "sha256": "y"})
    assert ["was changed between" in each.message for each in replay([line], [])] == [True]
    assert [*replay([line], ["2026-10"])] == []


def test_a_document_without_an_event_is_one_once_the_baseline_is_complete() -> None:
    line = canonical({"event_id": "", "place": "tenants/a/tenant", "sha256": "y"})
    baseline = canonical({"event_id": "b", "place": "audit/settings/baseline", "sha256": "y"})
    before, after = ReplayDocuments(""), ReplayDocuments("")
    assert [*before([line], [])] == []
    assert [each.reason for each in before.not_checked()] == [
        "1 documents have no event: they are older than the audit log, or retention deleted it"
    ]
    assert "the document has no event, and the baseline is complete" in [
        each.message for each in after([baseline, line], [])
    ]


def test_no_text_of_a_document_but_of_prices_is_in_a_package(month: FinishedMonth) -> None:
    rows = rows_of(Package(month.package))
    assert {row["place"].partition("/")[0] for row in rows if "text" in row} == {"prices"}
    assert EvidencePackage(month.package).facts.tenant is None
    assert DOCUMENTS not in Package(month.of_acme).files
