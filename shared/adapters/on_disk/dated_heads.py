"""The heads of a log with their leaves in a temporary SQLite file, because they may not fit into memory."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Iterator

from shared.application.ports.anchors import DatedHead
from shared.domain.audit.anchor_files import ChainHead

_SCHEMA = """
create table heads (
    chain text, seq integer, head text, leaf integer, at text, primary key (chain, seq, head)
) without rowid
"""


class DiskDatedHeads:
    """Implements `DatedHeads`. SQLite deletes the file with the object."""

    def __init__(self) -> None:
        # The garbage collector may close it in another thread.
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._database.execute(_SCHEMA)
        self._database.execute("begin")  # never committed: a transaction for each leaf would be slow

    def add(self, heads: Iterable[ChainHead], leaf: int, at: str) -> None:
        rows = [(head.chain, head.seq, head.head, leaf, at) for head in heads]
        self._database.executemany("insert or ignore into heads values (?, ?, ?, ?, ?)", rows)

    def of(self, chain: str) -> Iterator[DatedHead]:
        query = "select seq, head, leaf, at from heads where chain = ? order by seq, leaf"
        for seq, head, leaf, at in self._database.execute(query, (chain,)):
            yield DatedHead(seq=seq, head=head, leaf=leaf, at=at)

    def last(self, chain: str) -> DatedHead | None:
        query = "select seq, head, leaf, at from heads where chain = ? order by seq desc, leaf desc limit 1"
        row = self._database.execute(query, (chain,)).fetchone()
        return None if row is None else DatedHead(seq=row[0], head=row[1], leaf=row[2], at=row[3])

    def chains(self, prefix: str) -> Iterator[str]:
        query = "select distinct chain from heads where chain >= ? and chain < ? order by 1"
        for (chain,) in self._database.execute(query, (prefix, f"{prefix}\U0010ffff")).fetchall():
            yield chain

    def __del__(self) -> None:
        self._database.close()
