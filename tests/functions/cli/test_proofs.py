"""`tallygate verify-proof`: a tenant checks one line of its bill with a public key alone."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from shared.cli.__main__ import run
from tests.tools.finished_month import FinishedMonth, write_key, write_month

PROVED, NOTHING, NO_ANSWER = 0, 1, 2
Captured = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def month(tmp_path_factory: pytest.TempPathFactory) -> FinishedMonth:
    return write_month(tmp_path_factory.mktemp("month"))


def checked(month: FinishedMonth, path: Path, capsys: Captured, key: Path | None = None) -> tuple[int, Any]:
    status = run(["verify-proof", "--proof", str(path), "--public-key", str(key or month.public_key), "--json"])
    return status, json.loads(capsys.readouterr().out)


def test_each_request_of_a_tenant_is_proved(month: FinishedMonth, capsys: Captured) -> None:
    paths = sorted(month.proofs.iterdir())
    assert len(paths) > 10
    for path in paths:
        status, told = checked(month, path, capsys)
        stated = json.loads(path.read_text())
        assert (status, told["proved"], told["seq"]) == (PROVED, True, stated["entry"]["seq"])
        other = "bolt" if path.name.startswith("acme") else "acme"
        assert f"{other}|" not in path.read_text()  # a tenant sees its own head only


def test_the_result_is_told_in_words(month: FinishedMonth, capsys: Captured) -> None:
    assert (
        run(["verify-proof", "--proof", str(month.proofs / "acme-1.json"), "--public-key", str(month.public_key)]) == 0
    )
    told = capsys.readouterr().out
    assert "proved: True\nchain: ledger/2026-10/acme|00\nseq: 1\n" in told


def leaves_of(document: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Yield the path of each value of a document."""
    if isinstance(document, dict):
        for name, value in document.items():
            yield from leaves_of(value, (*path, name))
    elif isinstance(document, list):
        for index, value in enumerate(document):
            yield from leaves_of(value, (*path, index))
    else:
        yield path


def test_every_value_of_a_proof_matters(month: FinishedMonth, tmp_path: Path, capsys: Captured) -> None:
    document = json.loads((month.proofs / "acme-2.json").read_text())
    forged = tmp_path / "forged.json"
    unnoticed = []
    for path in leaves_of(document):
        changed = copy.deepcopy(document)
        holder = changed
        for name in path[:-1]:
            holder = holder[name]
        value = holder[path[-1]]
        holder[path[-1]] = (
            value + 1 if isinstance(value, int) else f"A{value[1:]}" if value[0] != "A" else f"B{value[1:]}"
        )
        forged.write_text(json.dumps(changed))
        if checked(month, forged, capsys)[0] != NOTHING and path[-1] != "mac":  # its key is a secret
            unnoticed.append(path)
    assert unnoticed == []


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda proof: proof.pop("leaf"), "a part is missing"),
        (lambda proof: proof.update(format="x"), "no tallygate-proof-1"),
        (lambda proof: proof["entry"].pop("method"), "chained by an HMAC"),
        (lambda proof: proof["followers"].clear(), "do not lead to the head"),
        (lambda proof: proof["leaf"].update(extra=1), "The leaf cannot be read"),
        (lambda proof: proof["log"].update(size=99), "another size"),
        (lambda proof: proof["log"]["path"].clear(), "not in the log"),
        (lambda proof: proof["heads"]["path"].clear(), "not among the heads"),
        (lambda proof: proof["head"].update(closed=True), "not among the heads"),
        (lambda proof: proof["entry"].update(seq="1"), "continue the chain"),
        (lambda proof: proof.update(previous=proof["previous"].upper()), "The hash before the entry is not one"),
        (lambda proof: proof.update(previous=f"{proof['previous']} "), "The hash before the entry is not one"),
    ],
)
def test_a_proof_that_proves_nothing_tells_why(
    change: Callable[[Any], Any], told: str, month: FinishedMonth, tmp_path: Path, capsys: Captured
) -> None:
    proof = json.loads((month.proofs / "acme-1.json").read_text())
    change(proof)
    path = tmp_path / "proof.json"
    path.write_text(json.dumps(proof))
    status, document = checked(month, path, capsys)
    assert (status, document["proved"]) == (NOTHING, False)
    assert told in document["reason"]


def test_another_key_proves_nothing(month: FinishedMonth, tmp_path: Path, capsys: Captured) -> None:
    private, public = write_key(tmp_path)
    assert checked(month, month.proofs / "acme-1.json", capsys, public)[0] == NOTHING
    private.write_text("no key")
    arguments = ["verify-proof", "--proof", str(month.proofs / "acme-1.json"), "--public-key", str(private)]
    assert run(arguments) == NO_ANSWER
