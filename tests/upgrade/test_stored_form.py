"""The names and bytes of the frozen rows, as the documents describe them. Every later version must read them."""

from __future__ import annotations

import hashlib
from collections import Counter
from datetime import datetime
from urllib.parse import quote

import pytest

from tests.upgrade.storage import FACTS, FROZEN, Partitions, Storage, archived_rows, broken_chains, canonical

FROZEN_SHA256 = "fbf01a6bd4fc82b7b64392325df602413832795d57aeab6effa24c55ee65de40"
"""SHA-256 of the names and contents of all frozen files. It never changes (tests/corpus/upgrade/README.md)."""


@pytest.fixture(params=["tables", *(each["file"] for each in FACTS["archives"])])
def rows(request: pytest.FixtureRequest) -> Partitions:
    """Yield the rows of the data folder, and those of each archive."""
    if request.param == "tables":
        frozen: Storage = request.getfixturevalue("frozen")
        return frozen.rows()
    return archived_rows(FROZEN / request.param)


def quoted(name: str) -> str:
    """Return a name as a table key."""
    return quote(name, safe=" ").replace("%", "=")


def test_no_frozen_file_has_changed() -> None:
    digest = hashlib.sha256()
    for path in sorted(FROZEN.iterdir()):
        if path.name != "README.md":
            digest.update(path.name.encode() + path.read_bytes())
    assert digest.hexdigest() == FROZEN_SHA256


def test_the_chains_recompute_from_the_stored_fields(rows: Partitions) -> None:
    heads = {f"{table}/{lane}": {"entries": each["B"]["seq"], "head": each["B"]["head"]}
             for (table, lane), each in rows.items() if table.startswith("ledger")}  # fmt: skip
    periods = {name.partition("/")[0] for name in heads}
    assert broken_chains(rows) == []
    assert heads == {name: chain for name, chain in FACTS["chains"].items() if name.partition("/")[0] in periods}


def test_a_changed_entry_breaks_its_chain() -> None:
    rows = archived_rows(FROZEN / FACTS["archives"][0]["file"])
    rows["ledger202609", "acme|00"]["E|0000000000000003"]["tokens"] += 1
    assert broken_chains(rows) == ["ledger202609 acme|00: entry 3 does not continue the chain"]


@pytest.mark.parametrize("kind", FACTS["canonical"])
def test_entries_have_their_canonical_form(kind: str, frozen: Storage) -> None:
    stated = FACTS["canonical"][kind]
    entry = frozen.rows(stated["table"])[stated["table"], stated["partition"]][stated["key"]]
    assert entry.pop("hash") == stated["hash"]
    assert canonical(entry) == stated["text"]


def test_every_kind_of_row_and_entry_is_there(frozen: Storage) -> None:
    kinds: Counter[str] = Counter()
    entries: Counter[str] = Counter()
    for lane in frozen.rows("ledger").values():
        kinds.update(key.partition("|")[0] for key in lane)
        entries.update(fields["kind"] for key, fields in lane.items() if key.startswith("E|"))
    assert set(kinds) == set("BPEXGL")
    assert entries == FACTS["entries"]
    assert len(entries) == 9


def test_the_ids_of_prices_follow_from_their_content(frozen: Storage) -> None:
    for (_, partition, price_id), price in frozen.documents("prices").items():
        parts = [price["model"], *(price[name] or "*" for name in ("model_version", "sku", "region"))]
        parts += [price["meter"], price["usd_per_million"], datetime.fromisoformat(price["effective_from"]).isoformat()]
        parts += [price["variant"]] if price["variant"] else []
        assert (partition, price_id) == (
            quoted(price["model"]),
            hashlib.sha256("\x1f".join(parts).encode()).hexdigest()[:10],
        )


def test_a_gateway_key_is_kept_as_the_digest_of_its_secret(frozen: Storage) -> None:
    kept = {key: document["secret_sha256"] for (*_, key), document in frozen.documents("credentials").items()}
    issued = [credential.split("_", 2) for group in FACTS["keys"].values() for credential in group.values()]
    assert kept == {key_id: hashlib.sha256(secret.encode()).hexdigest() for _, key_id, secret in issued}


def test_names_are_quoted_in_keys(frozen: Storage) -> None:
    named = {"backend": "backend_id", "deployment": "name", "hint": "backend_id"}
    found = frozen.documents("backends")
    assert [key for *_, key in found] == [quoted(document[named[kind]]) for (_, kind, _), document in found.items()]
    assert any("=2F" in key for *_, key in found)


def test_the_key_of_a_rollup_follows_from_what_it_sums(frozen: Storage) -> None:
    for lane in frozen.rows("rollup").values():
        for key, fields in lane.items():
            if key != "W":
                names = "\0".join(fields[name] for name in ("deployment", "user", "model"))
                assert key == f"R|{fields['day']}|{hashlib.sha256(names.encode()).hexdigest()}"
