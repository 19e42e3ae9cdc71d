"""The hash chain over ledger entries, and its canonical form."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from shared.adapters.canonical_json import encode_canonical
from shared.domain.audit.hash_chain import HashChain, canonical, genesis
from shared.domain.stored_fields import Fields


def test_the_chain_hides_its_key_and_depends_on_everything() -> None:
    chain = HashChain(b"secret-key")
    assert "secret-key" not in repr(chain)
    start = genesis("2026-11", "acme|00")
    assert start != genesis("2026-12", "acme|00")
    heads = {chain.extend(start, {"a": 1}), chain.extend(start, {"a": 2}), HashChain(b"x").extend(start, {"a": 1})}
    assert len(heads) == 3
    assert canonical({"b": "ü", "a": True}) == '{"a":true,"b":"ü"}'.encode()


@given(st.dictionaries(st.text(), st.text() | st.integers(-(2**63), 2**63 - 1) | st.booleans()))
def test_the_faster_encoder_gives_the_canonical_bytes(fields: Fields) -> None:
    assert encode_canonical(fields) == canonical(fields)
