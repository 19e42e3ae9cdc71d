"""Every kind of tampering with a finished month is found from its files, also by somebody who has the chain key.

The attacker can write every table and every blob, and knows the chain key. Only the key that signs anchors is not his.
"""

from __future__ import annotations

import asyncio
import copy
import hashlib
import json
import random
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import pytest

from shared.adapters.tables.archive_file import ArchiveDamaged
from shared.cli.offline import Question, verify_files
from shared.cli.verification import Verification, status_of
from tests.tools.finished_month import PERIOD, FinishedMonth, copied, write_month
from tests.tools.stack import CHAIN_KEY
from tests.tools.tampering import Books, Package, Row, changed_values

LEDGER, ROLLUP = "ledger202610", "rollup202610"
ACME = "acme|00"


@pytest.fixture(scope="module")
def month(tmp_path_factory: pytest.TempPathFactory) -> FinishedMonth:
    return write_month(tmp_path_factory.mktemp("month"))


@pytest.fixture(scope="module")
def books(month: FinishedMonth) -> Books:
    return Books.read(month.books.read_bytes())


@pytest.fixture
def workshop(month: FinishedMonth, tmp_path: Path) -> FinishedMonth:
    """Files of a month that a test may change."""
    return copied(month, tmp_path)


def verified(
    month: FinishedMonth, archive: Path, *, checkpoints: bool = True, chain_keys: Mapping[str, bytes] | None = None
) -> list[Verification]:
    question = Question(
        archive=archive,
        checkpoints=month.checkpoints if checkpoints else None,
        public_keys=[month.public_key],
        needs_sha256=True,
        chain_keys=chain_keys or {},
    )
    return asyncio.run(verify_files(question, lambda _done, _total: None))


def complaints(
    month: FinishedMonth, archive: Path, *, checkpoints: bool = True, chain_keys: Mapping[str, bytes] | None = None
) -> list[str]:
    """Return everything that is wrong, in words, with its place."""
    try:
        results = verified(month, archive, checkpoints=checkpoints, chain_keys=chain_keys)
    except ArchiveDamaged as error:
        return [str(error)]
    found = [
        f"{each.message} {each.table} {each.partition} {each.row} {each.property_name}"
        for result in results
        for each in result.findings
    ]
    assert bool(found) == (status_of(results) == 1)
    return found


def status_of_files(month: FinishedMonth, archive: Path, *, checkpoints: bool = True) -> int:
    """Return the exit status of the command for these files."""
    try:
        return status_of(verified(month, archive, checkpoints=checkpoints))
    except ArchiveDamaged:
        return 2


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of tampering with rows, and a text that names its place."""

    name: str
    change: Callable[[Books], None]
    place: str


def row_named(table: str, partition: str, key: str) -> Callable[[Books], Row]:
    return lambda books: books.find(lambda row: row[:3] == (table, partition, key))


def representatives(books: Books) -> dict[str, Row]:
    """Return a row of each kind, and of each kind of entry."""
    found: dict[str, Row] = {}
    for row in books.rows:
        table, _, key, fields = row
        kind = key.split("|")[0] if table != "registry" else "registry"
        if key.startswith("E|"):
            kind = f"entry {fields['kind']}"
        found.setdefault(f"{table[:6]} {kind}", row)
    return found


EMPTY_FIELDS = {"X": "usage_images", "E": "usage_images", "R": "application"}
"""Fields of rows that are left out where they are zero or empty."""


def edits(books: Books) -> Iterator[Kind]:
    """Yield an edit, a removal and a type change of each field of each kind of row, and an added field."""
    for kind, (table, partition, key, fields) in representatives(books).items():
        at = row_named(table, partition, key)
        place = partition if table != "registry" else key
        for name, value in fields.items():
            for other in (*changed_values(value), 0.5):
                yield Kind(f"{kind}: {name}={other!r:.20}", _set(at, name, other), place)
            yield Kind(f"{kind}: {name} is removed", _set(at, name, None), place)
        yield Kind(f"{kind}: a field is added", _set(at, "note", "x"), place)
        yield Kind(f"{kind}: an empty field is added", _set(at, EMPTY_FIELDS.get(key[0], "note"), 0), place)
        if kind != "regist registry":
            yield Kind(f"{kind}: is removed", partial(_remove, at), place)


def _remove(at: Callable[[Books], Row], books: Books) -> None:
    books.rows.remove(at(books))


def _set(at: Callable[[Books], Row], name: str, value: Any) -> Callable[[Books], None]:
    def change(books: Books) -> None:
        fields = at(books)[3]
        fields.pop(name, None)
        if value is not None:
            fields[name] = value

    return change


def rechained(kinds: Iterator[Kind]) -> Iterator[Kind]:
    """Yield the changes of entries again, after which the lane is chained anew with the chain key."""
    for kind in kinds:
        if " entry " in kind.name and "hash" not in kind.name and "mac" not in kind.name:
            change = kind.change

            def both(books: Books, change: Callable[[Books], None] = change, lane: str = kind.place) -> None:
                change(books)
                books.rechain(lane, PERIOD)

            yield Kind(f"{kind.name}, chained anew", both, kind.place)


def drop_newest(books: Books, lane: str) -> None:
    last = books.entries(lane)[-1]
    books.rows.remove(last)
    _set(row_named(LEDGER, lane, "B"), "seq", last[3]["seq"] - 1)(books)


def drop_first(books: Books, lane: str) -> None:
    books.rows.remove(books.entries(lane)[0])
    _renumber(books, lane)


def swap(books: Books, lane: str) -> None:
    first, second = books.entries(lane)[:2]
    one, two = dict(first[3]), dict(second[3])
    first[3].clear()
    second[3].clear()
    first[3].update(two | {"seq": one["seq"]})
    second[3].update(one | {"seq": two["seq"]})


def repeat(books: Books, lane: str) -> None:
    last = books.entries(lane)[-1]
    number = last[3]["seq"] + 1
    books.rows.append((LEDGER, lane, f"E|{number:016}", {**last[3], "seq": number, "rid": "0" * 32}))
    _set(row_named(LEDGER, lane, "B"), "seq", number)(books)


def drop_all(books: Books, lane: str) -> None:
    books.rows[:] = [row for row in books.rows if row[1] != lane and row[2] != lane]


def reopen(books: Books, lane: str) -> None:
    drop_newest(books, lane)
    _set(row_named(LEDGER, lane, "B"), "state", "OPEN")(books)


def downgrade(books: Books, lane: str) -> None:
    fields = books.entries(lane)[0][3]
    for name in ("method", "key_version", "mac"):
        fields.pop(name)
    fields["tokens"] = 1


LANE_CHANGES = (drop_newest, drop_first, swap, repeat, drop_all, reopen, downgrade)


def lanes(books: Books) -> Iterator[Kind]:
    """Yield changes of whole lanes and of their order, each plain and chained anew."""
    for change in LANE_CHANGES:
        for lane in books.lanes():
            name = f"{lane}: {change.__name__}"
            yield Kind(name, partial(_in_lane, change, lane), lane)
            if change not in (drop_all, downgrade):
                yield Kind(f"{name}, chained anew", _chained(change, lane), lane)


def _in_lane(change: Callable[[Books, str], None], lane: str, books: Books) -> None:
    change(books, lane)


def _chained(change: Callable[[Books, str], None], lane: str) -> Callable[[Books], None]:
    def both(books: Books) -> None:
        change(books, lane)
        books.rechain(lane, PERIOD)

    return both


def _renumber(books: Books, lane: str) -> None:
    for number, row in enumerate(books.entries(lane), 1):
        row[3]["seq"] = number
        books.rows[books.rows.index(row)] = (row[0], row[1], f"E|{number:016}", row[3])
    _set(row_named(LEDGER, lane, "B"), "seq", len(books.entries(lane)))(books)


def rename(old: str, new: str) -> Callable[[Books], None]:
    def change(books: Books) -> None:
        name = {f"{old}|00": f"{new}|00", f"{new}|00": f"{old}|00"}
        books.rows[:] = [(row[0], name.get(row[1], row[1]), name.get(row[2], row[2]), row[3]) for row in books.rows]

    return change


def invent(books: Books) -> None:
    for table, _, key, fields in [row for row in books.rows if row[1] == "bolt|00"]:
        books.rows.append((table, "ghost|00", key, dict(fields)))
    books.rows.append(("registry", PERIOD, "ghost|00", {}))
    books.rechain("ghost|00", PERIOD)


def other_period(books: Books) -> None:
    books.head["period"] = "2026-09"


def price(name: str, value: Any) -> Callable[[Books], None]:
    def change(books: Books) -> None:
        books.head["prices"][0][name] = value

    return change


def whole_books() -> Iterator[Kind]:
    """Yield changes that concern several lanes, other tables and the prices."""
    yield Kind("two tenants change places", rename("acme", "bolt"), ACME)
    yield Kind("a tenant has another name", rename("acme", "zeta"), ACME)
    yield Kind("a tenant is invented, chained anew", invent, "ghost|00")
    yield Kind("the books are of another period", other_period, "")
    yield Kind("a table is added", lambda books: books.rows.append(("evil", "x", "y", {})), "evil")
    yield Kind("a registry is added", lambda books: books.rows.append(("registry", "2026-09", ACME, {})), "registry")
    yield Kind("all rows are gone", lambda books: books.rows.clear(), ACME)
    yield Kind("a price is gone", lambda books: books.head["prices"].pop(), ACME)
    yield Kind("a price is lower", price("usd_per_million", "0.01"), ACME)
    yield Kind("a price is of another model", price("model", "gpt-5"), ACME)
    yield Kind("a price is of another meter", price("meter", "speech_characters"), ACME)


def test_the_month_that_nobody_tampered_with_is_proved(month: FinishedMonth) -> None:
    for archive, checkpoints in ((month.books, True), (month.package, True), (month.package, False)):
        assert complaints(month, archive, checkpoints=checkpoints) == []
        assert status_of(verified(month, archive, checkpoints=checkpoints)) == 0
    assert complaints(month, month.of_acme, checkpoints=False) == []


def test_every_change_of_books_is_found_and_its_place_is_named(
    workshop: FinishedMonth, books: Books, missed: list[str]
) -> None:
    kinds = [*edits(books), *rechained(edits(books)), *lanes(books), *whole_books()]
    assert len(kinds) > 600
    for kind in kinds:
        changed = copy.deepcopy(books)
        kind.change(changed)
        workshop.books.write_bytes(changed.content())
        found = complaints(workshop, workshop.books)
        if not any(kind.place in each for each in found):
            missed.append(f"{kind.name}: {found[:2]}")


def test_every_change_of_the_log_is_found(workshop: FinishedMonth, tmp_path: Path, missed: list[str]) -> None:
    files = {
        path.relative_to(workshop.checkpoints): path.read_bytes() for path in sorted(workshop.checkpoints.rglob("0*"))
    }
    for path, content in files.items():
        others = [other for other in files if other.parent == path.parent and other != path]
        changes: dict[str, bytes | None] = {
            "is gone": None,
            "is empty": b"",
            "is cut": content[:-1],
            "has one more byte": content + b"\n",
            "has another byte": content[:20] + bytes([content[20] ^ 1]) + content[21:],
            "is another": files[others[0]],
        }
        for name, changed in changes.items():
            target = workshop.checkpoints / path
            if changed is None:
                target.unlink()
            else:
                target.write_bytes(changed)
            is_newest_checkpoint = path.name == max(each.name for each in files) and changed is None
            if not complaints(workshop, workshop.books) and not is_newest_checkpoint:
                missed.append(f"{path} {name}")
            target.write_bytes(content)


def test_books_and_a_log_that_another_key_signed_are_found(workshop: FinishedMonth, tmp_path: Path) -> None:
    (tmp_path / "forged").mkdir()
    forged = write_month(tmp_path / "forged")
    own = replace(forged, public_key=workshop.public_key)
    assert any("no known key has signed" in each for each in complaints(own, own.books))
    assert any("no known key has signed" in each for each in complaints(own, own.package, checkpoints=False))


def test_a_second_history_that_the_same_key_signed_shows_by_a_checkpoint_that_was_kept(
    workshop: FinishedMonth, tmp_path: Path
) -> None:
    (tmp_path / "second").mkdir()
    second = write_month(tmp_path / "second", (workshop.signing_key, workshop.public_key))
    assert complaints(second, second.books) == []
    question = Question(
        archive=second.books,
        checkpoints=second.checkpoints,
        public_keys=[workshop.public_key],
        kept=[workshop.checkpoints / "checkpoint" / "0000000003"],
    )
    (result,) = asyncio.run(verify_files(question, lambda _done, _total: None))
    assert [each.message for each in result.findings] == [
        "checkpoint/0000000003: a checkpoint that was kept elsewhere has another root"
    ]
    assert complaints(replace(workshop, books=second.books), second.books)
    assert complaints(workshop, second.package)


BYTES: Mapping[str, Callable[[bytes], bytes] | None] = {
    "is gone": None,
    "is empty": lambda _: b"",
    "is cut": lambda content: content[:-1],
    "has one more byte": lambda content: content + b" ",
    "has another byte": lambda content: content[:30] + bytes([content[30] ^ 1]) + content[31:],
}


def test_every_change_of_a_package_is_found(workshop: FinishedMonth, missed: list[str]) -> None:
    """Whoever writes the package also writes its manifest."""
    original = workshop.package.read_bytes()
    names = list(Package(workshop.package).files)
    for name in names:
        for what, change in BYTES.items():
            for with_manifest in (True, False):
                package = Package(workshop.package)
                if change is None:
                    del package.files[name]
                else:
                    package.files[name] = change(package.files[name])
                try:
                    package.write(with_manifest=with_manifest and name != "manifest.json")
                except (KeyError, ValueError):
                    package.write(with_manifest=False)
                newest = name == "anchors/checkpoint/0000000007"
                # Another event id of a document may be newer than the log: nobody can say, which is no acceptance.
                if name == "documents.jsonl" and status_of_files(workshop, workshop.package, checkpoints=False) == 2:
                    continue
                if not complaints(workshop, workshop.package, checkpoints=False) and not newest:
                    missed.append(f"{name} {what} {with_manifest}")
                workshop.package.write_bytes(original)


TEXTS = {
    "statements/2026-10/statements.json": [
        ("Acme GmbH", "Acme Ltd"),
        ("CC-1", "CC-9"),
        ('"status": "final"', '"status": "x"'),
    ],
    "statements/2026-10/statements.csv": [("acme", "acne"), ("CC-1", "CC-9")],
    "statements/2026-10/manifest.json": [('"total_tokens": ', '"total_tokens": 1'), ("acme|00", "acne|00")],
    "summary.html": [("Acme GmbH", "Acme Ltd"), ("USD", "EUR")],
    "configuration.jsonl": [("acme", "acne")],
    "audit/2026-11.jsonl": [("statements.write", "statements.wrote"), ('"seq":1', '"seq":2'), ("acme", "acne")],
    "manifest.json": [('"tallygate/books"', '"tallygate/other"'), ('"2026-10"', '"2026-11"'), ("null", '"acme"')],
}


def test_every_text_of_a_package_is_checked(workshop: FinishedMonth, missed: list[str]) -> None:
    original = workshop.package.read_bytes()
    for name, pairs in TEXTS.items():
        for old, new in pairs:
            package = Package(workshop.package)
            assert old.encode() in package.files[name], (name, old)
            package.files[name] = package.files[name].replace(old.encode(), new.encode())
            package.write()
            if not complaints(workshop, workshop.package, checkpoints=False):
                missed.append(f"{name}: {old} to {new}")
            workshop.package.write_bytes(original)


def test_a_statement_and_its_manifest_that_agree_are_not_those_of_the_audit_log(workshop: FinishedMonth) -> None:
    package = Package(workshop.package)
    folder = "statements/2026-10"
    for name in ("statements.json", "statements.csv"):
        path = f"{folder}/{name}"
        before = package.files[path]
        package.files[path] = before.replace(b"Acme GmbH", b"Acme Ltd.")
        manifest = json.loads(package.files[f"{folder}/manifest.json"])
        for file in manifest["files"]:
            if file["name"] == name:
                file["sha256"] = hashlib.sha256(package.files[path]).hexdigest()
        package.files[f"{folder}/manifest.json"] = json.dumps(manifest, indent=2).encode() + b"\n"
    package.files["summary.html"] = package.files["summary.html"].replace(b"Acme GmbH", b"Acme Ltd.")
    package.write()
    found = complaints(workshop, workshop.package, checkpoints=False)
    assert [each.strip() for each in found] == ["the manifest of 2026-10 is not the one that the audit log names"]


def test_random_changes_of_bytes_are_found(workshop: FinishedMonth, books: Books, missed: list[str]) -> None:
    """A byte of any row is changed at random, and the file's own digest is made to fit."""
    chance = random.Random(15)
    lines = [json.dumps(row, ensure_ascii=False) for row in books.rows]
    for number in range(150):
        which = chance.randrange(len(lines))
        at = chance.randrange(len(lines[which]))
        text = lines[which][:at] + chance.choice("0123456789abcdef") + lines[which][at + 1 :]
        try:
            row = json.loads(text)
            table, partition, key, fields = row
        except ValueError:
            continue  # the archive cannot be read
        if text == lines[which]:
            continue
        changed = Books(books.head, [*books.rows[:which], (table, partition, key, fields), *books.rows[which + 1 :]])
        try:
            workshop.books.write_bytes(changed.content())
            found = complaints(workshop, workshop.books, chain_keys={"0": CHAIN_KEY.encode()})
        except TypeError:
            continue  # the row has no form that the format knows
        if not found:
            missed.append(f"{number}: {lines[which][:60]} at {at}: {text}")


@pytest.fixture
def missed() -> Iterator[list[str]]:
    """Collect the kinds that nobody found, so that one run names all of them."""
    kinds: list[str] = []
    yield kinds
    assert not kinds, "\n".join(kinds)
