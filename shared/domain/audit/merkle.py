"""Merkle trees as Certificate Transparency defines them: roots, inclusion proofs and consistency proofs.

Source: RFC 6962, section 2.1 (https://www.rfc-editor.org/rfc/rfc6962#section-2.1). The algorithms of verification are
those of RFC 9162, sections 2.1.3.2 and 2.1.4.2.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Sequence
from typing import Final

HASH_BYTES: Final = 32
EMPTY_ROOT: Final = hashlib.sha256(b"").digest()


def leaf_hash(leaf: bytes) -> bytes:
    """Return the hash of a leaf. Its first byte differs from that of a node, so that no node passes as a leaf."""
    return hashlib.sha256(b"\x00" + leaf).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """Return the hash of the node above two nodes."""
    return hashlib.sha256(b"\x01" + left + right).digest()


class CompactRange:
    """The roots of the largest complete subtrees of a tree, from left to right. A leaf is appended without the others.

    A tree with n leaves has as many as the binary number n has ones.
    """

    def __init__(self, size: int = 0, hashes: Sequence[bytes] = ()) -> None:
        """`hashes` are those of an earlier range with `size` leaves. Raises `ValueError` if they cannot be."""
        if size < 0 or len(hashes) != size.bit_count() or any(len(each) != HASH_BYTES for each in hashes):
            raise ValueError(f"these are not the subtrees of a tree with {size} leaves")
        self.size = size
        self._hashes = list(hashes)

    @property
    def hashes(self) -> tuple[bytes, ...]:
        """The roots of the subtrees, the largest first."""
        return tuple(self._hashes)

    def append(self, leaf: bytes) -> None:
        """Add a leaf, whose bytes are given."""
        node, size = leaf_hash(leaf), self.size
        while size & 1:
            node, size = node_hash(self._hashes.pop(), node), size >> 1
        self._hashes.append(node)
        self.size += 1

    def root(self) -> bytes:
        """Return the root of the tree."""
        if not self._hashes:
            return EMPTY_ROOT
        *others, root = self._hashes
        for left in reversed(others):
            root = node_hash(left, root)
        return root

    def copy(self) -> CompactRange:
        """Return a range that grows apart from this one."""
        return CompactRange(self.size, self._hashes)


def tree_root(leaves: Iterable[bytes]) -> bytes:
    """Return the root of the tree over some leaves."""
    tree = CompactRange()
    for leaf in leaves:
        tree.append(leaf)
    return tree.root()


def inclusion_proof(hashes: Sequence[bytes], index: int) -> list[bytes]:
    """Return the path from a leaf to the root of the tree over all `hashes` of leaves, the lowest node first.

    Raises `IndexError` if the tree has no such leaf.
    """
    if not 0 <= index < len(hashes):
        raise IndexError(f"a tree with {len(hashes)} leaves has no leaf {index}")
    if len(hashes) == 1:
        return []
    split = _split(len(hashes))
    left, right = hashes[:split], hashes[split:]
    if index < split:
        return [*inclusion_proof(left, index), _root_of(right)]
    return [*inclusion_proof(right, index - split), _root_of(left)]


def root_of_inclusion(leaf: bytes, index: int, size: int, path: Sequence[bytes]) -> bytes:
    """Return the root of the tree with `size` leaves in which a path leads up from the bytes of a leaf.

    Raises `ValueError` if no such tree can exist.
    """
    if not 0 <= index < size:
        raise ValueError(f"a tree with {size} leaves has no leaf {index}")
    number, last, root = index, size - 1, leaf_hash(leaf)
    for node in path:
        if last == 0 or len(node) != HASH_BYTES:
            raise ValueError("the path is longer than the tree is high, or has a part that is no hash")
        if number & 1 or number == last:
            root = node_hash(node, root)
            while not number & 1 and number:
                number, last = number >> 1, last >> 1
        else:
            root = node_hash(root, node)
        number, last = number >> 1, last >> 1
    if last:
        raise ValueError("the path is shorter than the tree is high")
    return root


def is_included(leaf: bytes, index: int, size: int, path: Sequence[bytes], root: bytes) -> bool:
    """Tell whether a path proves that the leaf with these bytes has this index in the tree with this root."""
    try:
        return root_of_inclusion(leaf, index, size, path) == root
    except ValueError:
        return False


def consistency_proof(hashes: Sequence[bytes], first: int) -> list[bytes]:
    """Return the proof that the tree over the `first` hashes of leaves is a prefix of the tree over all of them.

    Raises `IndexError` if it cannot be.
    """
    if not 0 <= first <= len(hashes):
        raise IndexError(f"a tree with {first} leaves is no prefix of one with {len(hashes)}")
    return _subproof(hashes, first, is_whole=True) if 0 < first < len(hashes) else []


def is_prefix(first: int, size: int, proof: Sequence[bytes], first_root: bytes, root: bytes) -> bool:
    """Tell whether a proof shows that a tree with `first` leaves is a prefix of one with `size` leaves."""
    if not 0 <= first <= size or any(len(node) != HASH_BYTES for node in proof):
        return False
    if first == size:
        return not proof and first_root == root
    if first == 0:
        return not proof and first_root == EMPTY_ROOT
    nodes = list(proof)
    if first & (first - 1) == 0:  # the first tree is complete, so that the proof leaves its root out
        nodes.insert(0, first_root)
    return bool(nodes) and _leads_to_both(first, size, nodes, first_root, root)


def _leads_to_both(first: int, size: int, nodes: Sequence[bytes], first_root: bytes, root: bytes) -> bool:
    number, last = first - 1, size - 1
    while number & 1:
        number, last = number >> 1, last >> 1
    before = after = nodes[0]
    for node in nodes[1:]:
        if last == 0:
            return False
        if number & 1 or number == last:
            before, after = node_hash(node, before), node_hash(node, after)
            while not number & 1 and number:
                number, last = number >> 1, last >> 1
        else:
            after = node_hash(after, node)
        number, last = number >> 1, last >> 1
    return last == 0 and before == first_root and after == root


def _subproof(hashes: Sequence[bytes], first: int, *, is_whole: bool) -> list[bytes]:
    if first == len(hashes):
        return [] if is_whole else [_root_of(hashes)]
    split = _split(len(hashes))
    left, right = hashes[:split], hashes[split:]
    if first <= split:
        return [*_subproof(left, first, is_whole=is_whole), _root_of(right)]
    return [*_subproof(right, first - split, is_whole=False), _root_of(left)]


def _split(size: int) -> int:
    """Return the largest power of two below `size`."""
    return 1 << ((size - 1).bit_length() - 1)


def _root_of(hashes: Sequence[bytes]) -> bytes:
    level = list(hashes)
    while len(level) > 1:
        pairs = [node_hash(left, right) for left, right in zip(level[::2], level[1::2], strict=False)]
        level = pairs + level[len(pairs) * 2 :]
    return level[0]
