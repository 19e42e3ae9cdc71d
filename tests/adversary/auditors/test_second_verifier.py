"""A verifier that was written from the document alone, and the gateway's own, agree."""

from __future__ import annotations

import ast
import copy
import random
import subprocess
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from shared.adapters.tables.archive_file import ArchiveDamaged
from shared.cli.verification import status_of
from tests.adversary import second_rows, second_statements, second_verifier
from tests.adversary.auditors.test_tampered_month import (
    BYTES,
    edits,
    lanes,
    rechained,
    status_of_files,
    verified,
    whole_books,
)
from tests.adversary.random_edits import chosen, edits_of
from tests.adversary.second_verifier import ACCEPTED, NOBODY_CAN_SAY, VIOLATED, status
from tests.tools.finished_month import FinishedMonth, copied, write_month
from tests.tools.tampering import Books, Package

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> FinishedMonth:
    return write_month(tmp_path_factory.mktemp("month"))


@pytest.fixture
def month(finished: FinishedMonth, tmp_path: Path) -> FinishedMonth:
    return copied(finished, tmp_path)


@pytest.fixture
def differences() -> Iterator[list[str]]:
    found: list[str] = []
    yield found
    assert not found, "\n".join(found)


def keys(month: FinishedMonth) -> list[EllipticCurvePublicKey]:
    key = load_pem_public_key(month.public_key.read_bytes())
    assert isinstance(key, EllipticCurvePublicKey)
    return [key]


def first_of(month: FinishedMonth, path: Path) -> tuple[int, list[str]]:
    """Return the exit status of the command, and what it says with the places."""
    try:
        results = verified(month, path, checkpoints=False)
    except ArchiveDamaged as error:
        return NOBODY_CAN_SAY, [str(error)]
    return status_of(results), [
        f"{each.message} {each.table} {each.partition} {each.row}" for result in results for each in result.findings
    ]


def second(month: FinishedMonth) -> list[str]:
    """Verify the archive with the second verifier."""

    def read(path: str) -> bytes | None:
        file = month.checkpoints / path
        return file.read_bytes() if file.exists() else None

    return second_verifier.verify_archive(month.books.read_bytes(), read, keys(month))


def test_it_imports_nothing_of_the_project() -> None:
    own = {f"tests.adversary.{each}" for each in ("second_verifier", "second_rows", "second_statements")}
    for module in (second_verifier, second_rows, second_statements):
        tree = ast.parse(Path(str(module.__file__)).read_text())
        modules = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
        modules += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
        others = {name for name in modules if name.partition(".")[0] not in sys.stdlib_module_names}
        assert {name for name in others - own if not name.startswith("cryptography.")} == set()


def test_both_accept_what_nobody_tampered_with(month: FinishedMonth) -> None:
    assert second(month) == []
    for package in (month.package, month.of_acme):
        assert second_verifier.verify_package(package.read_bytes(), keys(month)) == []


def test_both_find_changes_of_chains(month: FinishedMonth, differences: list[str]) -> None:
    books = Books.read(month.books.read_bytes())
    kinds = [*lanes(books), *whole_books(), *[*edits(books)][::4], *[*rechained(edits(books))][::5]]
    assert len(kinds) > 250
    for kind in kinds:
        changed = copy.deepcopy(books)
        kind.change(changed)
        month.books.write_bytes(changed.content())
        found = second(month)
        if status(found) != status_of_files(month, month.books):
            differences.append(f"{kind.name}: {found}")


def test_both_agree_on_each_change_of_the_log(month: FinishedMonth, differences: list[str]) -> None:
    for path in sorted(month.checkpoints.rglob("0*")):
        content = path.read_bytes()
        for name, change in BYTES.items():
            if change is None:
                path.unlink()
            else:
                path.write_bytes(change(content))
            if status(second(month)) != status_of_files(month, month.books):
                differences.append(f"{path.parent.name}/{path.name} {name}: {second(month)}")
            path.write_bytes(content)


def test_both_find_changes_of_a_package(month: FinishedMonth, differences: list[str]) -> None:
    original = month.package.read_bytes()
    of_gateway_alone = ("summary.html", "manifest.json")
    for name in Package(month.package).files:
        if name.startswith(of_gateway_alone):
            continue
        for what, change in BYTES.items():
            if name == "anchors/checkpoint/0000000007" and change is None:
                continue  # the newest leaf may lack it, and only the page shows it
            package = Package(month.package)
            if change is None:
                del package.files[name]
            else:
                package.files[name] = change(package.files[name])
            package.write()
            found = second_verifier.verify_package(month.package.read_bytes(), keys(month))
            if status(found) != status_of_files(month, month.package, checkpoints=False):
                differences.append(f"{name} {what}: {found}")
            month.package.write_bytes(original)


PLACES = {
    "periods/": ("ledger2026", "rollup2026", "registry", "prices", "|0", "periods", "period", "evil"),
    "anchors/": ("anchors", "leaf", "head", "checkpoint", "log"),
    "proofs/": ("proofs/heads.jsonl", "head", "leaf"),
    "audit/": ("audit",),
    "documents.jsonl": ("document", "price", "prices", "tenants/", "credentials/"),
    "configuration.jsonl": ("configuration.jsonl",),
    "statements/": ("statements", "statement", "manifest of", "bill", "total_", "cost center"),
    "summary.html": ("summary.html",),
    "manifest.json": ("manifest", "does not belong", "of another tenant", "lane of the package"),
}
"""Parts of a finding's text and place that show which file is meant."""


def concerns(told: Sequence[str], names: Iterable[str]) -> bool:
    """Tell whether a finding names one of the files that were edited, or something in it."""
    parts = {part for name in names for start, each in PLACES.items() if name.startswith(start) for part in each}
    return any(part in text for text in told for part in (*parts, *names))


@pytest.mark.parametrize("kind", ["package", "of_acme"])
def test_both_agree_on_500_random_edits_of_any_file_of_a_package(
    kind: str, month: FinishedMonth, differences: list[str]
) -> None:
    """Whoever edits also writes a manifest that fits, every other time."""
    path: Path = getattr(month, kind)
    chance, original = random.Random(17), path.read_bytes()
    files, results = Package(path).files, Counter[tuple[str, int]]()
    for number in range(380 if kind == "package" else 120):
        package, name = Package(path), chosen(files, chance)
        edit = chance.choice(edits_of(name))
        edit(package.files, name, chance)
        edited = [each for each in {*files, *package.files} if files.get(each) != package.files.get(each)]
        package.write(with_manifest=number % 2 == 0 and "manifest.json" not in edited)
        first, told = first_of(month, path)
        found = second_verifier.verify_package(path.read_bytes(), keys(month))
        path.write_bytes(original)
        results[edit.__name__, first] += 1
        what = f"{number} {edit.__name__} {edited}: {first} {told[:3]}, and the second {status(found)} {found[:3]}"
        is_page = "summary.html" in edited or bool(told and all("summary.html does not" in each for each in told))
        if first != status(found) and not (is_page and status(found) == ACCEPTED):
            differences.append(what)
        elif first == VIOLATED and not is_page and not (concerns(told, edited) and concerns(found, edited)):
            differences.append(f"{what} concern another file")
    kinds = {"of_bytes", "of_lines", "of_properties", "of_rows", "of_whole_files"}
    assert {edit for edit, result in results if result == VIOLATED} == kinds
    assert {result for _, result in results} == {ACCEPTED, VIOLATED, NOBODY_CAN_SAY}


@pytest.mark.parametrize("is_older", [False, True])
def test_it_is_a_command(is_older: bool, month: FinishedMonth) -> None:
    books = month.early if is_older else month.books
    files = [str(books), str(month.checkpoints), str(month.public_key)]
    command = [sys.executable, "-m", "tests.adversary.second_verifier", *files]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ended.returncode, "is missing or another than anchored" in ended.stdout) == (int(is_older), is_older)
