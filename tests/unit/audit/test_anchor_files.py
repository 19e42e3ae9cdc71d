"""The files of the log of heads have one form for each meaning."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.audit.anchor_files import (
    AnchorFileInvalid,
    ChainHead,
    Leaf,
    final_groups,
    format_heads,
    heads_root,
    parse_heads,
    parse_leaf,
)
from shared.domain.audit.merkle import tree_root

ACME = ChainHead(chain="ledger/2026-11/acme|00", seq=2, head="ab" * 32)
BLUE = ChainHead(chain="ledger/2026-11/blue|00", seq=3, head="cd" * 32, is_closed=True)
LEAF = Leaf(n=1, at="2026-11-26T06:00:00.000Z", period="2026-11", count=2, heads_root=heads_root([ACME, BLUE]))


def test_heads_are_written_as_the_reference_shows() -> None:
    expected = (
        '[{"chain":"ledger/2026-11/acme|00","head":"' + "ab" * 32 + '","seq":2},'
        '{"chain":"ledger/2026-11/blue|00","closed":true,"head":"' + "cd" * 32 + '","seq":3}]'
    )
    assert format_heads([BLUE, ACME]).decode() == expected
    assert parse_heads(expected.encode()) == [ACME, BLUE]


def test_the_rows_of_heads_are_the_leaves_of_their_tree() -> None:
    rows = json.loads(format_heads([ACME, BLUE]))
    encoded = [json.dumps(row, sort_keys=True, separators=(",", ":")).encode() for row in rows]
    assert heads_root([ACME, BLUE]) == tree_root(encoded)


def test_a_leaf_is_written_as_the_reference_shows() -> None:
    assert LEAF.to_bytes().startswith(b'{"at":"2026-11-26T06:00:00.000Z","count":2,"heads_root":"')
    assert LEAF.to_bytes().endswith(b'","n":1,"period":"2026-11"}')
    assert parse_leaf(LEAF.to_bytes()) == LEAF


def test_no_heads_are_a_file_as_well() -> None:
    assert parse_heads(format_heads([])) == []


@given(st.lists(st.tuples(st.text(), st.integers(-1), st.text(), st.booleans()), max_size=5), st.lists(st.text()))
def test_files_are_read_as_they_were_written(rows: list[tuple[str, int, str, bool]], groups: list[str]) -> None:
    heads = [ChainHead(chain=chain, seq=seq, head=head, is_closed=closed) for chain, seq, head, closed in rows]
    heads = sorted({head.chain: head for head in heads}.values(), key=lambda head: head.chain)
    assert parse_heads(format_heads(heads)) == heads
    leaf = Leaf(n=0, at="", period="", count=len(heads), heads_root=heads_root(heads), final=final_groups([], groups))
    assert parse_leaf(leaf.to_bytes()) == leaf


@pytest.mark.parametrize(
    "content",
    [
        b"", b"{}", b"[1]", b"[" * 100_000, b"\xff", b"[ ]", b"[]\n",
        b'[{"chain":"a","head":"b"}]', b'[{"chain":"a","head":"b","seq":-2}]', b'[{"chain":"a","head":"b","seq":true}]',
        b'[{"chain":"a","head":"b","seq":1.0}]', b'[{"chain":"a","closed":false,"head":"b","seq":1}]',
        b'[{"chain":"a","head":"b","more":1,"seq":1}]', b'[{"head":"b","chain":"a","seq":1}]',
        b'[{"chain":"b","head":"b","seq":1},{"chain":"a","head":"b","seq":1}]',
        b'[{"chain":"a","head":"b","seq":1},{"chain":"a","head":"b","seq":1}]',
        b'[{"chain":"\\ud800","head":"b","seq":1}]', b'[{"chain":"\xed\xa0\x80","head":"b","seq":1}]',
        '[{"chain":"a","head":"b","seq":1}]'.encode("utf-16"),
    ],
)  # fmt: skip
def test_what_has_another_form_is_no_file_of_heads(content: bytes) -> None:
    with pytest.raises(AnchorFileInvalid):
        parse_heads(content)


@pytest.mark.parametrize(
    "change",
    [
        {"n": True}, {"n": "1"}, {"count": False}, {"at": 1}, {"period": None}, {"heads_root": "AAAA"},
        {"heads_root": "?"}, {"more": 1}, {"final": []}, {"final": ["b", "a"]}, {"final": ["a", "a"]},
        {"final": "ab"}, {"final": [1]}, {"at": "\ud800"},
    ],
)  # fmt: skip
def test_what_has_another_form_is_no_leaf(change: dict[str, object]) -> None:
    fields = {**json.loads(LEAF.to_bytes()), **change}
    with pytest.raises(AnchorFileInvalid):
        parse_leaf(json.dumps(fields, sort_keys=True, separators=(",", ":")).encode())


def test_a_list_is_no_leaf() -> None:
    with pytest.raises(AnchorFileInvalid):
        parse_leaf(b"[]")


def test_a_group_is_final_when_all_its_chains_are_closed_and_stays_so() -> None:
    october = ChainHead(chain="ledger/2026-10/acme|00", seq=1, head="", is_closed=True)
    assert final_groups([ACME, BLUE, october]) == ("ledger/2026-10",)
    assert final_groups([ACME, BLUE], ["ledger/2026-10"]) == ("ledger/2026-10",)
    assert final_groups([]) == ()


def test_a_group_with_a_chain_that_could_not_be_read_is_not_final() -> None:
    unread = ChainHead(chain="ledger/2026-11/acme|00", seq=-1, head="")
    assert final_groups([BLUE, unread]) == ()
