"""A month of any size is verified with little memory."""

from __future__ import annotations

import gzip
import hashlib
import json
import subprocess
import sys
from pathlib import Path

from shared.adapters.tables.rows import balance_fields
from shared.domain.audit.hash_chain import HashChain, KeyRing, genesis
from shared.domain.ledger.amounts import Limit
from shared.domain.ledger.balance import Balance
from shared.domain.stored_fields import Fields

ROOT = Path(__file__).resolve().parents[3]
PERIOD, LANE, TABLE = "2026-10", "acme|00", "ledger202610"
ENTRY: Fields = {
    "kind": "limit", "timestamp": "2026-10-05T12:00:00.000Z", "tokens": 0, "pusd": 0, "limit_tokens": -1,
    "limit_pusd": -1, "before_tokens": -1, "before_pusd": -1, "actor": "admin", "reason": "x" * 200,
}  # fmt: skip
PROGRAM = """
import resource, sys
from shared.cli.__main__ import run
status = run(["verify", "--archive", sys.argv[1], "--json"])
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, file=sys.stderr)
sys.exit(status)
"""


def write_archive(path: Path, entries: int) -> int:
    """Write a lane of voided requests. Returns the size of its rows in bytes."""
    chain, head, digest, size = HashChain(KeyRing(keys={"0": b"k"})), genesis(PERIOD, LANE), hashlib.sha256(), 0
    with gzip.open(path, "wb", compresslevel=1) as file:

        def write(line: object) -> None:
            nonlocal size
            encoded = json.dumps(line, separators=(",", ":")).encode() + b"\n"
            digest.update(encoded)
            size += len(encoded)
            file.write(encoded)

        write({"format": "tallygate-period-1", "period": PERIOD, "prices": []})
        write(["registry", PERIOD, LANE, {}])
        for seq in range(1, entries + 1):
            fields: Fields = {**ENTRY, "seq": seq, "commit_id": f"{seq:016x}"}
            head = chain.seal(head, fields)
            write([TABLE, LANE, f"E|{seq:016}", fields])
        balance = Balance(head=head, limit=Limit(), limit0=Limit(), seq=entries, version=entries)
        write([TABLE, LANE, "B", balance_fields(balance)])
        tail = {"rows": entries + 2, "sha256": digest.hexdigest()}
        file.write(json.dumps(tail, separators=(",", ":")).encode() + b"\n")
    return size


def peak_kib(path: Path) -> int:
    """Verify an archive in a process of its own. Returns the most memory that it took."""
    ended = subprocess.run(
        [sys.executable, "-c", PROGRAM, str(path)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    document = json.loads(ended.stdout)
    assert [each["row"] for each in document["findings"]] == ["B"], ended.stderr  # it lacks the ids of commits
    assert document["chained"][0]["entries"] >= 500
    return int(ended.stderr.split()[-1])


def test_memory_does_not_grow_with_the_entries(tmp_path: Path) -> None:
    small, large = tmp_path / "small.gz", tmp_path / "large.gz"
    write_archive(small, 500)
    size = write_archive(large, 40_000)
    assert (peak_kib(large) - peak_kib(small)) * 1024 < size // 3
