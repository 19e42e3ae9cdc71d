"""The heads of all leaves in a temporary file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Set

from shared.domain.audit.anchor_files import ChainHead


class DiskHeads:
    """Implements `AnchoredHeads`. SQLite deletes the file with the object."""

    def __init__(self) -> None:
        # The garbage collector may close it in another thread.
        self._database = sqlite3.connect("", isolation_level=None, check_same_thread=False)
        self._database.execute("create table heads (chain text, seq int, head text, primary key (chain, seq))")
        self._database.execute("begin")  # never committed: a transaction for each head would be slow

    def add(self, heads: Iterable[ChainHead]) -> None:
        rows = [(each.chain, each.seq, each.head) for each in heads]
        self._database.executemany("insert or ignore into heads values (?, ?, ?)", rows)

    def of(self, chain: str) -> Mapping[int, str]:
        return dict(self._database.execute("select seq, head from heads where chain = ?", (chain,)))

    def chains(self) -> Set[str]:
        return {chain for (chain,) in self._database.execute("select distinct chain from heads")}

    def __del__(self) -> None:
        self._database.close()
