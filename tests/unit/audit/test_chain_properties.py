"""Any change of any entry of a lane is found, whichever processes have written it, unless it is signed anew."""

from __future__ import annotations

from collections.abc import Sequence

from hypothesis import given
from hypothesis import strategies as st

from shared.domain.audit.hash_chain import ChainVerifier, HashChain, KeyRing, Link, Sealed, genesis
from shared.domain.stored_fields import Fields, FieldValue
from tests.tools.earlier_chain import EarlierChain

KEYS = {"0": b"first-key", "1": b"second-key"}
CHAINS = {
    "earlier": EarlierChain(KEYS["0"]),
    "first": HashChain(KeyRing(keys=KEYS)),
    "second": HashChain(KeyRing(keys=KEYS, newest="1")),
}
START = genesis("2026-11", "acme|00")
NAMES = ("seq", "user", "tokens", "method", "key_version", "hash", "mac")
VALUES = st.sampled_from(["sha256", "0", "1", "", "0" * 64, 7, True]) | st.text(max_size=3)
WRITERS = st.lists(st.sampled_from(sorted(CHAINS)), min_size=1, max_size=6)


def lane(writers: Sequence[str]) -> list[Fields]:
    """Write a lane, each entry by another process."""
    head, entries = START, list[Fields]()
    for seq, writer in enumerate(writers, start=1):
        entry: Fields = {"seq": seq, "user": "ann", "tokens": 17 * seq}
        head = CHAINS[writer].seal(head, entry)
        entries.append(entry)
    return entries


def checked(entries: Sequence[Fields], keys: dict[str, bytes]) -> list[Link]:
    """Check the entries of a lane as verification does, by their numbers, too."""
    head, links, verifier = START, list[Link](), ChainVerifier(keys)
    for seq, entry in enumerate(entries, start=1):
        sealed = Sealed.from_fields(entry)
        link = verifier.check(head, sealed)
        links.append(link if entry.get("seq") == seq else Link(method=link.method, key_version="", fault="number"))
        head = sealed.hash
    return links


def holds(links: Sequence[Link], entries: Sequence[Fields], head: FieldValue) -> bool:
    """Tell whether verification says that a lane holds whose balance has this head."""
    return entries[-1].get("hash") == head and all(link.is_key_known and not link.fault for link in links)


@given(WRITERS)
def test_a_lane_of_any_processes_holds(writers: list[str]) -> None:
    entries = lane(writers)
    assert holds(checked(entries, KEYS), entries, entries[-1]["hash"])


@given(WRITERS, st.integers(0, 5), st.sampled_from(NAMES), VALUES)
def test_a_property_of_any_entry_that_is_changed_or_added_is_found(
    writers: list[str], index: int, name: str, value: FieldValue
) -> None:
    entries = lane(writers)
    head, entry = entries[-1]["hash"], entries[index % len(entries)]
    is_same = name in entry and (entry[name], type(entry[name])) == (value, type(value))
    entry[name] = value
    assert holds(checked(entries, KEYS), entries, head) == is_same


@given(WRITERS, st.integers(0, 5), st.sets(st.sampled_from(NAMES), min_size=1))
def test_properties_of_any_entry_that_are_removed_are_found(writers: list[str], index: int, names: set[str]) -> None:
    entries = lane(writers)
    head, entry = entries[-1]["hash"], entries[index % len(entries)]
    is_same = names.isdisjoint(entry)
    for name in names & entry.keys():
        del entry[name]
    assert holds(checked(entries, KEYS), entries, head) == is_same


@given(WRITERS, WRITERS, st.integers(0, 5), st.integers(0, 5))
def test_entries_of_another_lane_and_in_another_order_are_found(
    writers: list[str], others: list[str], first: int, second: int
) -> None:
    entries = lane(writers)
    head = entries[-1]["hash"]
    other = lane([*others, "first"])
    moved = [*entries]
    moved[first % len(moved)] = other[second % len(other)]
    is_same = moved == entries
    assert holds(checked(moved, KEYS), moved, head) == is_same


@given(WRITERS, st.integers(0, 5), st.sampled_from(["guessed", "earlier", "keyless"]))
def test_a_lane_that_is_written_again_without_a_key_never_holds(writers: list[str], index: int, how: str) -> None:
    attacker = {
        "guessed": HashChain(KeyRing(keys={"1": b"guessed"}, newest="1")),
        "earlier": EarlierChain(b"guessed"),
        "keyless": HashChain(KeyRing(keys={"lost": b"guessed"}, newest="lost")),
    }[how]
    entries = lane(writers)
    first = index % len(entries)
    head = str(entries[first - 1]["hash"]) if first else START
    for entry in entries[first:]:
        for name in ("method", "key_version", "hash", "mac"):
            entry.pop(name, None)
        entry["user"] = "eve"
        head = attacker.seal(head, entry)
    links = checked(entries, KEYS)
    assert not holds(links, entries, head)
    assert [bool(link.fault) for link in links[first:]] == [how != "keyless"] * (len(entries) - first)


@given(WRITERS, st.integers(0, 5))
def test_without_keys_nothing_is_said_to_hold_and_hashes_are_compared_all_the_same(
    writers: list[str], index: int
) -> None:
    entries = lane(writers)
    assert not holds(checked(entries, {}), entries, entries[-1]["hash"])
    assert not any(link.fault for link in checked(entries, {}))
    changed = index % len(entries)
    entries[changed]["user"] = "eve"
    assert bool(checked(entries, {})[changed].fault) == (writers[changed] != "earlier")
