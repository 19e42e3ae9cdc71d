"""Copy the log of heads into an evidence package: all heads, or proofs of a tenant's own."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable
from typing import Final

from shared.application.ports.anchors import AnchorStore
from shared.application.ports.evidence import EvidenceFiles
from shared.domain.audit.anchor_files import (
    CHECKPOINTS,
    ChainHead,
    checkpoint_path,
    heads_path,
    leaf_path,
    parse_heads,
)
from shared.domain.audit.merkle import inclusion_proof, leaf_hash
from shared.domain.audit.package_paths import ANCHORS, HEAD_PROOFS

AT_ONCE: Final = 32
Progress = Callable[[int, int], None]


class ExportAnchors:
    """Copies the log up to its newest checkpoint."""

    def __init__(self, store: AnchorStore) -> None:
        self._store = store

    async def __call__(self, package: EvidenceFiles, tenant: str | None, report: Progress) -> tuple[int, str]:
        """Returns the number of leaves, and the newest checkpoint. Raises `StorageUnavailable`."""
        size = 0
        async for name in self._store.names(CHECKPOINTS):
            size = max(size, int(name.rpartition("/")[2]))
        proofs, known, newest = list[bytes](), dict[str, ChainHead](), b""
        async for n, files in self._leaves(size):
            newest = files.get(checkpoint_path(n + 1), newest)
            heads = files.pop(heads_path(n), b"") if tenant is not None else b""
            for path, content in files.items():
                package.add(f"{ANCHORS}/{path}", content)
            if tenant is not None:
                proofs += _proofs(n, heads, tenant, known, is_newest=n + 1 == size)
            report(n + 1, size)
        if tenant is not None:
            package.add(HEAD_PROOFS, b"".join(proofs))
        return size, newest.decode()

    async def _leaves(self, size: int) -> AsyncIterator[tuple[int, dict[str, bytes]]]:
        """Yield the files of each leaf. Reads some leaves at once."""
        for start in range(0, size, AT_ONCE):
            numbers = range(start, min(start + AT_ONCE, size))
            for n, files in zip(numbers, await asyncio.gather(*map(self._files, numbers)), strict=True):
                yield n, files

    async def _files(self, n: int) -> dict[str, bytes]:
        paths = (heads_path(n), leaf_path(n), checkpoint_path(n + 1))
        contents = await asyncio.gather(*map(self._store.read, paths))
        return {path: content for path, content in zip(paths, contents, strict=True) if content is not None}


def _proofs(n: int, content: bytes, tenant: str, known: dict[str, ChainHead], *, is_newest: bool) -> list[bytes]:
    """Return a line for each head of the tenant that an earlier leaf did not have, and for all of the newest leaf.

    Those of the newest leaf prove that no later head was left out.
    """
    heads = parse_heads(content)
    of_tenant = [index for index, head in enumerate(heads) if _is_of(head.chain, tenant)]
    own = [index for index in of_tenant if is_newest or known.get(heads[index].chain) != heads[index]]
    if not own:
        return []
    hashes, lines = [leaf_hash(head.to_bytes()) for head in heads], list[bytes]()
    for index in own:
        head = known[heads[index].chain] = heads[index]
        path = [base64.b64encode(node).decode() for node in inclusion_proof(hashes, index)]
        proof = {
            "head": json.loads(head.to_bytes()),
            "heads": {"index": index, "path": path, "size": len(heads)},
            "n": n,
        }
        lines.append(json.dumps(proof, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() + b"\n")
    return lines


def _is_of(chain: str, tenant: str) -> bool:
    kind, _, rest = chain.partition("/")
    return kind == "ledger" and rest.partition("/")[2].partition("|")[0] == tenant
