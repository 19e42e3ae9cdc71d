"""A verifier that was written from the document alone, and the gateway's own, agree."""

from __future__ import annotations

import ast
import copy
import random
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePublicKey
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from tests.adversary import second_verifier
from tests.adversary.auditors.test_tampered_month import BYTES, lanes, status_of_files, whole_books
from tests.adversary.second_verifier import ACCEPTED, VIOLATED, status
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


def second(month: FinishedMonth) -> list[str]:
    """Verify the archive with the second verifier."""

    def read(path: str) -> bytes | None:
        file = month.checkpoints / path
        return file.read_bytes() if file.exists() else None

    return second_verifier.verify_archive(month.books.read_bytes(), read, keys(month))


def test_it_imports_nothing_of_the_project() -> None:
    tree = ast.parse(Path(second_verifier.__file__).read_text())
    modules = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    modules += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    own = {name.partition(".")[0] for name in modules} - {*sys.stdlib_module_names}
    assert own == {"cryptography"}


def test_both_accept_what_nobody_tampered_with(month: FinishedMonth) -> None:
    assert second(month) == []
    for package in (month.package, month.of_acme):
        assert second_verifier.verify_package(package.read_bytes(), keys(month)) == []


def test_both_find_changes_of_chains(month: FinishedMonth, differences: list[str]) -> None:
    books = Books.read(month.books.read_bytes())
    kinds = [kind for kind in (*lanes(books), *whole_books()) if "price" not in kind.name]
    assert len(kinds) > 40
    for kind in kinds:
        changed = copy.deepcopy(books)
        kind.change(changed)
        month.books.write_bytes(changed.content())
        found = second(month)
        if status(found) != status_of_files(month, month.books) and "registry is added" not in kind.name:
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
    of_gateway_alone = ("statements/", "summary.html", "manifest.json")
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


DESCRIBED = ("anchors/heads", "anchors/leaf", "anchors/checkpoint", "audit/", "documents.jsonl", "configuration.jsonl")
"""The files of which formats.md describes every byte. Of the others it describes the chains and the prices."""


def edited(content: bytes, chance: random.Random) -> bytes:
    """Change a byte, a digit, a line or a part of a file."""
    lines, at = content.splitlines(keepends=True), chance.randrange(len(content))
    which, digits = chance.randrange(len(lines)), [place for place, byte in enumerate(content) if 48 <= byte < 58]
    match chance.randrange(7):
        case 0:
            return content[:at] + bytes([content[at] ^ 1 << chance.randrange(8)]) + content[at + 1 :]
        case 1:
            return content[:at] + content[at + chance.randrange(1, 40) :]
        case 2:
            return b"".join(lines[:which] + lines[which + 1 :])
        case 3:
            return b"".join([*lines[: which + 1], *lines[which:]])
        case 4:
            return b"".join(chance.sample(lines, len(lines)))
        case 5 if digits:
            place = chance.choice(digits)
            return content[:place] + str(chance.randrange(10)).encode() + content[place + 1 :]
        case _:
            return content[:at] + content[:at][-20:] + content[at:]


def test_both_agree_on_500_random_edits_of_a_package(month: FinishedMonth, differences: list[str]) -> None:
    """Whoever edits also writes a manifest that fits, every other time."""
    chance, original = random.Random(4), month.package.read_bytes()
    files = Package(month.package).files
    names = sorted(name for name in files if name.startswith(DESCRIBED))
    results = set()
    for number in range(500):
        package, name = Package(month.package), chance.choice(names)
        package.files[name] = edited(files[name], chance)
        package.write(with_manifest=number % 2 == 0)
        first = status_of_files(month, month.package, checkpoints=False)
        told = second_verifier.verify_package(month.package.read_bytes(), keys(month))
        month.package.write_bytes(original)
        results.add(first)
        if first != status(told):
            differences.append(f"{number} {name}: {first}, and the second says {told}")
    assert results >= {ACCEPTED, VIOLATED}


@pytest.mark.parametrize("is_older", [False, True])
def test_it_is_a_command(is_older: bool, month: FinishedMonth) -> None:
    books = month.early if is_older else month.books
    files = [str(books), str(month.checkpoints), str(month.public_key)]
    command = [sys.executable, "-m", "tests.adversary.second_verifier", *files]
    ended = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ended.returncode, "is missing or another than anchored" in ended.stdout) == (int(is_older), is_older)
