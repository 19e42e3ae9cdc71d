"""Proofs of single entries: from an entry to the next anchored head, and from there to a signed checkpoint.

docs/reference/formats.md describes the document.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, Final

from shared.domain.audit.anchor_files import ChainHead, Leaf, parse_leaf
from shared.domain.audit.hash_chain import DIGEST, SHA256, ChainVerifier, Sealed
from shared.domain.audit.merkle import is_included
from shared.domain.stored_fields import Fields
from shared.domain.values import record

FORMAT: Final = "tallygate-proof-1"


class ProofInvalid(ValueError):
    """The document proves nothing. The message tells the reason."""


@record
class TreePath:
    """The way from a leaf to the root of a tree."""

    index: int
    size: int
    path: Sequence[bytes]


@record
class EntryProof:
    """An entry, the entries after it up to an anchored head, and the paths from that head to a checkpoint."""

    entry: Fields
    previous: str
    """The hash of the entry before."""
    followers: Sequence[Fields]
    head: ChainHead
    heads: TreePath
    leaf: bytes
    log: TreePath
    checkpoint: str
    """The signed note."""


def proof_document(proof: EntryProof) -> dict[str, Any]:
    """Return a proof as JSON."""
    return {
        "format": FORMAT,
        "entry": proof.entry,
        "lane": proof.head.chain,
        "previous": proof.previous,
        "followers": list(proof.followers),
        "head": json.loads(proof.head.to_bytes()),
        "heads": _path_document(proof.heads),
        "leaf": json.loads(proof.leaf),
        "log": _path_document(proof.log),
        "checkpoint": proof.checkpoint,
    }


def read_proof(document: Any) -> EntryProof:
    """Read a proof. Raises `ProofInvalid`."""
    try:
        if document["format"] != FORMAT:
            raise ProofInvalid(f"The document is no {FORMAT}.")
        head = document["head"]
        if head["chain"] != document["lane"]:
            raise ProofInvalid("The head is of another chain.")
        if not DIGEST.fullmatch(str(document["previous"])):
            raise ProofInvalid("The hash before the entry is not one.")
        return EntryProof(
            entry=dict(document["entry"]),
            previous=str(document["previous"]),
            followers=[dict(each) for each in document["followers"]],
            head=ChainHead(
                chain=str(document["lane"]),
                seq=int(head["seq"]),
                head=str(head["head"]),
                is_closed=head.get("closed") is True,
            ),
            heads=_read_path(document["heads"]),
            leaf=_canonical(document["leaf"]),
            log=_read_path(document["log"]),
            checkpoint=str(document["checkpoint"]),
        )
    except ProofInvalid:
        raise
    except (ValueError, TypeError, LookupError, AttributeError) as error:
        raise ProofInvalid("The document is no proof: a part is missing or of another type.") from error


def verify_proof(proof: EntryProof, root: bytes, verifier: ChainVerifier) -> Leaf:
    """Check a proof against the root of its checkpoint, whose signature is verified elsewhere.

    Returns the leaf. Raises `ProofInvalid`.
    """
    _check_chain(proof, verifier)
    try:
        leaf = parse_leaf(proof.leaf)
    except ValueError as error:
        raise ProofInvalid(f"The leaf cannot be read: {error}.") from error
    if leaf.count != proof.heads.size:
        raise ProofInvalid("The leaf has another number of heads.")
    if not is_included(proof.head.to_bytes(), proof.heads.index, proof.heads.size, proof.heads.path, leaf.heads_root):
        raise ProofInvalid("The head is not among the heads of the leaf.")
    if leaf.n != proof.log.index or not is_included(proof.leaf, proof.log.index, proof.log.size, proof.log.path, root):
        raise ProofInvalid("The leaf is not in the log of the checkpoint.")
    return leaf


def _check_chain(proof: EntryProof, verifier: ChainVerifier) -> None:
    head, seq = proof.previous, proof.entry.get("seq")
    for number, fields in enumerate(_all(proof), seq if isinstance(seq, int) else 0):
        sealed = Sealed.from_fields(fields)
        link = verifier.check(head, sealed)
        if link.method != SHA256 and not link.is_key_known:
            raise ProofInvalid(f"Entry {number} is chained by an HMAC. Nothing proves it without the chain key.")
        if link.fault or fields.get("seq") != number:
            raise ProofInvalid(f"Entry {number} {link.fault or 'has another number'}.")
        head = sealed.hash
    if (head, number) != (proof.head.head, proof.head.seq):
        raise ProofInvalid("The entries do not lead to the head.")


def _all(proof: EntryProof) -> Iterable[Mapping[str, Any]]:
    return [proof.entry, *proof.followers]


def _path_document(path: TreePath) -> dict[str, Any]:
    return {"index": path.index, "size": path.size, "path": [base64.b64encode(node).decode() for node in path.path]}


def _read_path(document: Any) -> TreePath:
    nodes = [base64.b64decode(node, validate=True) for node in document["path"]]
    return TreePath(index=int(document["index"]), size=int(document["size"]), path=nodes)


def _canonical(document: Any) -> bytes:
    return json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode(errors="replace")
