"""The hash chain over ledger entries: its canonical form, its methods, and the versions of its key."""

from __future__ import annotations

import hashlib
import hmac

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.adapters.canonical_json import encode_canonical
from shared.domain.audit.hash_chain import ChainVerifier, HashChain, KeyRing, Link, Sealed, canonical, genesis
from shared.domain.stored_fields import Fields, FieldValue
from tests.tools.earlier_chain import EarlierChain

KEYS = {"0": b"first-key", "1": b"second-key"}
START = genesis("2026-11", "acme|00")
CHAIN = HashChain(KeyRing(keys=KEYS, newest="1"))
EARLIER = EarlierChain(KEYS["0"])
KEYLESS = ChainVerifier({})


def sealed(chain: HashChain = CHAIN, **fields: FieldValue) -> Fields:
    """Seal the first entry of a lane."""
    entry: Fields = {"seq": 1, **fields}
    chain.seal(START, entry)
    return entry


def forged(key: bytes, **changes: FieldValue) -> Fields:
    """Change an entry, and hash it anew with whatever key is at hand."""
    covered = {**sealed(), **changes}
    del covered["hash"], covered["mac"]
    hash_ = hashlib.sha256(START.encode() + canonical(covered)).hexdigest()
    return {**covered, "hash": hash_, "mac": hmac.digest(key, hash_.encode(), "sha256").hex()}


def without(fields: Fields, *names: str) -> Fields:
    return {name: value for name, value in fields.items() if name not in names}


def checked(fields: Fields, verifier: ChainVerifier = CHAIN) -> Link:
    return verifier.check(START, Sealed.from_fields(fields))


def fault(fields: Fields, verifier: ChainVerifier = CHAIN) -> str:
    return checked(fields, verifier).fault


def test_an_entry_is_chained_by_sha256_and_its_hash_is_signed() -> None:
    entry = sealed(user="ü")
    text = START + '{"key_version":"1","method":"sha256","seq":1,"user":"ü"}'
    assert entry["hash"] == hashlib.sha256(text.encode()).hexdigest()
    assert entry["mac"] == hmac.digest(b"second-key", str(entry["hash"]).encode(), "sha256").hex()
    assert checked(entry) == Link(method="sha256", key_version="1")


def test_the_first_hash_depends_on_period_and_lane() -> None:
    assert len({START, genesis("2026-12", "acme|00"), genesis("2026-11", "acme|01")}) == 3


def test_no_key_is_shown() -> None:
    ring = KeyRing(keys=KEYS, newest="1")
    assert repr(ring) == "KeyRing(keys=***, newest='1')"
    assert [repr(HashChain(ring)), repr(KEYLESS)] == ["HashChain(keys=***)", "ChainVerifier(keys=***)"]


def test_a_ring_has_its_newest_key() -> None:
    with pytest.raises(KeyError):
        KeyRing(keys=KEYS, newest="2")


def test_an_entry_without_a_method_is_an_hmac_by_the_first_key() -> None:
    assert checked(sealed(EARLIER)) == Link(method="hmac", key_version="0")
    assert fault(sealed(EARLIER), EarlierChain(b"another")) == "does not continue the chain"


def test_another_key_signs_from_its_rotation_on_and_both_verify() -> None:
    chain = HashChain(KeyRing(keys={"0": b"first-key"}))
    before = sealed(chain)
    chain.use(KeyRing(keys=KEYS, newest="1"))
    after = sealed(chain)
    assert [checked(each, chain) for each in (before, after)] == [
        Link(method="sha256", key_version="0"),
        Link(method="sha256", key_version="1"),
    ]


def test_without_its_key_the_hash_is_checked_and_the_mac_is_not() -> None:
    assert checked(sealed(), KEYLESS) == Link(method="sha256", key_version="1", is_key_known=False)
    assert fault({**sealed(), "seq": 2}, KEYLESS) == "does not continue the chain"


def test_without_its_key_nothing_of_an_hmac_is_checked_and_the_link_says_so() -> None:
    entry = sealed(EARLIER)
    assert checked({**entry, "seq": 2}, KEYLESS) == Link(method="hmac", key_version="0", is_key_known=False)


NO_CONTINUATION = "does not continue the chain"


@pytest.mark.parametrize(
    ("entry", "said"),
    {
        "a field is changed": ({**sealed(), "seq": 2}, NO_CONTINUATION),
        "a field is added": ({**sealed(), "note": "paid"}, NO_CONTINUATION),
        "the key version is another": ({**sealed(), "key_version": "0"}, NO_CONTINUATION),
        "the key version is removed": (without(sealed(), "key_version"), NO_CONTINUATION),
        "the hash is removed": (without(sealed(), "hash"), NO_CONTINUATION),
        "the mac is removed": (without(sealed(), "mac"), "has no mac"),
        "the mac is empty": ({**sealed(), "mac": ""}, "has no mac"),
        "the mac is no digest": ({**sealed(), "mac": "A" * 64}, "has no mac"),
        "the mac is made by another version": (
            {**sealed(), "mac": sealed(HashChain(KeyRing(keys=KEYS)))["mac"]},
            "has a mac that key version 1 did not make",
        ),
        "an attacker without the key hashes anew": (
            forged(b"guessed", seq=2),
            "has a mac that key version 1 did not make",
        ),
        "an attacker with an old key signs as the new": (
            forged(KEYS["0"], seq=2),
            "has a mac that key version 1 did not make",
        ),
        "the key version is no name": (forged(b"", key_version="../1"), "names no version of the chain key"),
        "the key version is a number": (forged(b"", key_version=-1), "names no version of the chain key"),
        "the method is unknown": (forged(b"", method="md5"), "states the unknown method 'md5'"),
        "the method is empty": (forged(b"", method=""), "states the unknown method ''"),
        "the method is removed": (without(sealed(), "method"), "has a key_version, but no method"),
        "method and key version are removed": (
            without(sealed(), "method", "key_version"),
            "has a mac, but no method",
        ),
        "all that is new is removed": (without(sealed(), "method", "key_version", "mac"), NO_CONTINUATION),
        "an hmac gets a mac": ({**sealed(EARLIER), "mac": "0" * 64}, "has a mac, but no method"),
        "an hmac gets a method": ({**sealed(EARLIER), "method": "sha256"}, NO_CONTINUATION),
        "an hmac by a later key": (sealed(EarlierChain(KEYS["1"])), NO_CONTINUATION),
    }.values(),
)
def test_each_change_of_an_entry_is_a_fault(entry: Fields, said: str) -> None:
    assert fault(entry) == said


def test_an_entry_that_poses_as_one_of_an_earlier_version_fits_only_where_the_key_is_missing() -> None:
    posing: Fields = {
        "seq": 1,
        "user": "eve",
        "hash": sealed()["hash"],
    }  # so that the next entry and its anchor still fit
    assert fault(posing) == NO_CONTINUATION
    assert checked(posing, KEYLESS) == Link(method="hmac", key_version="0", is_key_known=False)


def test_no_text_of_an_attacker_is_counted_as_a_method_or_version() -> None:
    entries = forged(b"", method="\x1b[2J"), forged(b"", key_version="\x1b[2J")
    found = [checked(entry, KEYLESS) for entry in entries]
    assert [(link.method, link.key_version, link.is_key_known) for link in found] == [
        ("unknown", "", True), ("sha256", "", True),
    ]  # fmt: skip


def test_an_attacker_without_the_key_can_hash_an_entry_anew_if_the_verifier_has_no_key_either() -> None:
    forgery = checked(forged(b"guessed", key_version="lost"))
    assert (forgery.fault, forgery.is_key_known) == ("", False)  # so the report must not say that the chain holds


@pytest.mark.parametrize("entry", [without(sealed(EARLIER), "hash"), {**sealed(EARLIER), "hash": "0" * 63}])
def test_a_hash_that_is_none_is_a_fault_without_the_key(entry: Fields) -> None:
    assert fault(entry, KEYLESS) == NO_CONTINUATION


def test_remains_of_a_newer_entry_are_a_fault_without_the_key() -> None:
    assert fault({**sealed(EARLIER), "key_version": "0"}, KEYLESS) == "has a key_version, but no method"


@given(st.sampled_from([CHAIN, EARLIER]), st.dictionaries(st.text(), st.text() | st.integers(-(2**63), 2**63 - 1)))
def test_a_sealed_entry_is_stored_as_it_was_split(chain: HashChain, fields: Fields) -> None:
    entry = {name: value for name, value in fields.items() if name not in ("method", "mac", "hash", "key_version")}
    chain.seal(START, entry)
    assert Sealed.from_fields(entry).fields() == entry
    assert checked(entry).fault == ""


@given(st.dictionaries(st.text(), st.text() | st.integers(-(2**63), 2**63 - 1) | st.booleans()))
def test_the_faster_encoder_gives_the_canonical_bytes(fields: Fields) -> None:
    assert encode_canonical(fields) == canonical(fields)


def test_the_canonical_form_is_sorted_and_not_escaped() -> None:
    assert canonical({"b": "ü", "a": True}) == '{"a":true,"b":"ü"}'.encode()
