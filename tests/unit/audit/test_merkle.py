"""Merkle trees: the published vectors of Certificate Transparency, and properties over all small trees."""

from __future__ import annotations

import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.audit.merkle import (
    EMPTY_ROOT,
    CompactRange,
    consistency_proof,
    inclusion_proof,
    is_included,
    is_prefix,
    leaf_hash,
    node_hash,
    tree_root,
)

# The vectors of the reference implementation: https://github.com/google/certificate-transparency (merkle tree tests)
LEAVES = [bytes.fromhex(each) for each in (
    "", "00", "10", "2021", "3031", "40414243", "5051525354555657", "606162636465666768696a6b6c6d6e6f"
)]  # fmt: skip
ROOTS = [bytes.fromhex(each) for each in (
    "6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
    "fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125",
    "aeb6bcfe274b70a14fb067a5e5578264db0fa9b51af5e0ba159158f329e06e77",
    "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7",
    "4e3bbb1f7b478dcfe71fb631631519a3bca12c9aefca1612bfce4c13a86264d4",
    "76e67dadbcdf1e10e1b74ddc608abd2f98dfb16fbce75277b5232a127f2087ef",
    "ddb89be403809e325750d3d263cd78929c2942b7942a34b77e122c9594a74c8c",
    "5dc9da79a70659a9ad559cb701ded9a2ab9d823aad2f4960cfe370eff4604328",
)]  # fmt: skip
INCLUSIONS = [
    (0, 8, ["96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"]),
    (5, 8, ["bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"]),
    (2, 3, ["fac54203e7cc696cf0dfcb42c92a1d9dbaf70ad9e621f4bd8d98662f00e3c125"]),
    (1, 5, ["6e340b9cffb37a989ca544e6bb780a2c78901d3fb33738768511a30617afa01d",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"]),
]  # fmt: skip
CONSISTENCIES = [
    (1, 1, []),
    (1, 8, ["96a296d224f285c67bee93c30f8a309157f0daa35dc5b87e410b78630a09cfc7",
            "5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "6b47aaf29ee3c2af9af889bc1fb9254dabd31177f16232dd6aab035ca39bf6e4"]),
    (6, 8, ["0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "ca854ea128ed050b41b35ffc1b87b8eb2bde461e9e3b5596ece6b9d5975a0ae0",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"]),
    (2, 5, ["5f083f0a1a33ca076a95279832580db3e0ef4584bdff1f54c8a360f50de3031e",
            "bc1a0643b12e4d2d7c77918f44e0f4f79a838b6cf9ec5b5c283e1f4d88599e6b"]),
    (6, 7, ["0ebc5d3437fbe2db158b9f126a1d118e308181031d0a949f8dededebc558ef6a",
            "b08693ec2e721597130641e8211e7eedccb4c26413963eee6c1e2ed16ffb1a5f",
            "d37ee418976dd95753c1c73862b9398fa2a2cf9b4ff0fdfe8b30cd95209614b7"]),
]  # fmt: skip


def hashes(size: int) -> list[bytes]:
    return [leaf_hash(leaf) for leaf in LEAVES[:size]]


def root_by_definition(leaves: list[bytes]) -> bytes:
    """Return MTH of RFC 6962, section 2.1, as it is written there."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return node_hash(root_by_definition(leaves[:split]), root_by_definition(leaves[split:]))


def test_an_empty_tree_has_the_hash_of_nothing_as_its_root() -> None:
    assert tree_root([]) == EMPTY_ROOT == CompactRange().root() == hashlib.sha256(b"").digest()


@pytest.mark.parametrize("size", range(1, 9))
def test_roots_are_the_published_ones(size: int) -> None:
    assert tree_root(LEAVES[:size]) == ROOTS[size - 1]


@pytest.mark.parametrize(("index", "size", "path"), INCLUSIONS)
def test_inclusion_proofs_are_the_published_ones(index: int, size: int, path: list[str]) -> None:
    proof = inclusion_proof(hashes(size), index)
    assert [node.hex() for node in proof] == path
    assert is_included(LEAVES[index], index, size, proof, ROOTS[size - 1])


@pytest.mark.parametrize(("first", "size", "path"), CONSISTENCIES)
def test_consistency_proofs_are_the_published_ones(first: int, size: int, path: list[str]) -> None:
    proof = consistency_proof(hashes(size), first)
    assert [node.hex() for node in proof] == path
    assert is_prefix(first, size, proof, ROOTS[first - 1], ROOTS[size - 1])


@given(st.lists(st.binary(max_size=4), max_size=40))
def test_a_range_that_grows_has_the_root_by_definition(leaves: list[bytes]) -> None:
    tree = CompactRange()
    for number, leaf in enumerate(leaves, 1):
        tree.append(leaf)
        assert tree.root() == root_by_definition(leaves[:number])
        assert CompactRange(tree.size, tree.hashes).root() == tree.copy().root() == tree.root()


@given(st.integers(1, 40), st.data())
def test_every_proof_holds_and_none_of_its_damaged_forms_does(size: int, data: st.DataObject) -> None:
    leaves = [bytes([number]) for number in range(size)]
    of_leaves = [leaf_hash(leaf) for leaf in leaves]
    root, index, first = tree_root(leaves), data.draw(st.integers(0, size - 1)), data.draw(st.integers(1, size))
    path, proof = inclusion_proof(of_leaves, index), consistency_proof(of_leaves, first)
    first_root = tree_root(leaves[:first])
    assert is_included(leaves[index], index, size, path, root)
    assert is_prefix(first, size, proof, first_root, root)
    for damaged in damages(path, data):
        assert not is_included(leaves[index], index, size, damaged, root)
    for damaged in damages(proof, data):
        assert not is_prefix(first, size, damaged, first_root, root)
    assert not is_included(b"another", index, size, path, root)
    assert not is_included(leaves[index], (index + 1) % size, size, path, root) or size == 1
    assert not is_prefix(first, size, proof, tree_root([b"another"]), root)


def damages(path: list[bytes], data: st.DataObject) -> list[list[bytes]]:
    """Return forms of a path with a bit turned, a part too many or too few, and a part that is no hash."""
    found = [[*path, EMPTY_ROOT], [EMPTY_ROOT, *path], [*path, b""], [b"", *path]]
    if path:
        place = data.draw(st.integers(0, len(path) - 1))
        turned = bytes([path[place][0] ^ 8]) + path[place][1:]
        found += [path[:-1], path[1:], [*path[:place], turned, *path[place + 1 :]]]
    return found


def test_an_empty_tree_is_a_prefix_of_every_tree() -> None:
    assert consistency_proof(hashes(3), 0) == []
    assert is_prefix(0, 3, [], EMPTY_ROOT, ROOTS[2])
    assert not is_prefix(0, 3, [], ROOTS[0], ROOTS[2])
    assert not is_prefix(0, 3, [ROOTS[0]], EMPTY_ROOT, ROOTS[2])
    assert is_prefix(0, 0, [], EMPTY_ROOT, EMPTY_ROOT)


@pytest.mark.parametrize(("first", "size"), [(-1, 3), (4, 3), (2, 1)])
def test_a_longer_tree_is_no_prefix(first: int, size: int) -> None:
    assert not is_prefix(first, size, [], EMPTY_ROOT, EMPTY_ROOT)
    with pytest.raises(IndexError):
        consistency_proof(hashes(size), first)


def test_a_proof_may_not_be_missing() -> None:
    assert not is_prefix(3, 4, [], ROOTS[2], ROOTS[3])


@pytest.mark.parametrize("index", [-1, 3])
def test_a_leaf_outside_of_the_tree_has_no_path(index: int) -> None:
    assert not is_included(LEAVES[0], index, 3, [], ROOTS[2])
    with pytest.raises(IndexError):
        inclusion_proof(hashes(3), index)


@pytest.mark.parametrize(("size", "parts"), [(-1, []), (3, [EMPTY_ROOT]), (1, [b"short"]), (0, [EMPTY_ROOT])])
def test_a_range_that_cannot_be_is_refused(size: int, parts: list[bytes]) -> None:
    with pytest.raises(ValueError, match="not the subtrees"):
        CompactRange(size, parts)
