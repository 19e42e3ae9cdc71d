"""Signed notes and checkpoints, with the examples of their specifications."""

from __future__ import annotations

import base64
import hashlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from shared.domain.audit.checkpoint import Checkpoint, format_checkpoint, parse_checkpoint
from shared.domain.audit.signed_note import (
    KeyId,
    NoteInvalid,
    NoteSignature,
    format_note,
    key_id,
    parse_note,
    require_signed,
)

# The examples of https://c2sp.org/signed-note and https://c2sp.org/tlog-checkpoint
POEM = (
    "Ognuno sta solo sul cuor della terra\ntrafitto da un raggio di sole:\n\ned è subito sera.\n\n"
    "— quasimodo.example/salvatore "
    "NnugSzTjtVAewIS+Z/iJhUPeFDkO/5QQ2i5ddnGITLlC+EhfLW9oJKONrMouFSQU0xMcXxj99ihAQwaqP3ZekRwNtIc=\n"
)
SOFA = (
    "example.com/behind-the-sofa\n20852163\nCsUYapGGPo4dkMgIAUqom/Xajj7h2fB2MPA3j2jxq2I=\n\n"
    "— example.com/behind-the-sofa "
    "Az3grlgtzPICa5OS8npVmf1Myq/5IZniMp+ZJurmRDeOoRDe4URYN7u5/Zhcyv2q1gGzGku9nTo+zyWE+xeMcTOAYQ8=\n"
)
KEY = KeyId("log.example/1", b"\x01\x02\x03\x04")
OTHER = KeyId("log.example/1", b"\x05\x06\x07\x08")


def signed(text: str, *signatures: NoteSignature) -> bytes:
    return format_note(text, signatures or [NoteSignature(KEY, b"good")]).encode()


def verify(signature: bytes, message: bytes) -> bool:
    return signature == b"good"


@pytest.mark.parametrize("example", [POEM, SOFA])
def test_the_examples_of_the_specification_are_read_and_written_alike(example: str) -> None:
    note = parse_note(example.encode())
    assert format_note(note.text, note.signatures) == example
    assert len(note.signatures[0].signature) == 64


def test_the_text_ends_at_the_last_empty_line() -> None:
    assert parse_note(POEM.encode()).text.endswith(":\n\ned è subito sera.\n")


def test_the_checkpoint_of_the_specification_is_read_and_written_alike() -> None:
    text = parse_note(SOFA.encode()).text
    checkpoint = parse_checkpoint(text)
    assert (checkpoint.origin, checkpoint.size) == ("example.com/behind-the-sofa", 20852163)
    assert format_checkpoint(checkpoint) == text


def test_a_key_is_named_by_the_hash_of_its_public_key() -> None:
    assert key_id("log", b"public key") == KeyId("log", hashlib.sha256(b"public key").digest()[:4])


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"\xff", "UTF-8"),
        (b"text\n", "no signatures"),
        (signed("text\n")[:-1], "no signatures"),
        (b"text\n\n", "no signature"),
        (b"text\n\n- log AQIDBGdvb2Q=\n", "no signature"),
        ("text\n\n— log\n".encode(), "no signature"),
        ("text\n\n—  AQIDBGdvb2Q=\n".encode(), "no signature"),
        ("text\n\n— a+b AQIDBGdvb2Q=\n".encode(), "no signature"),
        ("text\n\n— a\u2003b AQIDBGdvb2Q=\n".encode(), "no signature"),
        ("text\n\n— log AQID\n".encode(), "too short"),
        ("text\n\n— log AQIDBA==\n".encode(), "too short"),
        ("text\n\n— log AQIDBGdvb2R=\n".encode(), "no base64"),
        ("text\n\n— log AQIDBGdvb2Q\n".encode(), "no base64"),
        ("text\n\n— log AQIDBGdvb2Qé\n".encode(), "no base64"),
        ("text\n\n— log AQIDBGdvb2Q= x\n".encode(), "no base64"),
        (signed("te\rxt\n"), "control"),
        (signed("te\0xt\n"), "control"),
        (signed("text\n", *[NoteSignature(KEY, b"good")] * 65), "more than 64"),
        (b"x" * 1_000_001, "too large"),
    ],
)
def test_what_has_another_form_is_no_note(content: bytes, reason: str) -> None:
    with pytest.raises(NoteInvalid, match=reason):
        parse_note(content)


def test_sixteen_signatures_are_read() -> None:
    assert len(parse_note(signed("text\n", *[NoteSignature(KEY, b"good")] * 16)).signatures) == 16


def test_signatures_of_unknown_keys_are_ignored_and_those_of_known_ones_told() -> None:
    note = parse_note(signed("text\n", NoteSignature(OTHER, b"bad"), NoteSignature(KEY, b"good")))
    assert require_signed(note, {KEY: verify}) == [KEY]
    assert require_signed(note, {KEY: verify, KeyId("another", OTHER.hint): verify}) == [KEY]


def test_a_note_without_a_known_signature_is_refused() -> None:
    with pytest.raises(NoteInvalid, match="no known key"):
        require_signed(parse_note(signed("text\n")), {OTHER: verify})


def test_a_wrong_signature_of_a_known_key_is_refused_beside_a_right_one() -> None:
    note = parse_note(signed("text\n", NoteSignature(KEY, b"good"), NoteSignature(OTHER, b"bad")))
    with pytest.raises(NoteInvalid, match="05060708"):
        require_signed(note, {KEY: verify, OTHER: verify})


ROOT = base64.b64encode(bytes(32)).decode()


@pytest.mark.parametrize(
    "text",
    [
        f"log\n1\n{ROOT}", f"log\n1\n{ROOT}\nmore\n", f"log\n1\n{ROOT}\n\n", "log\n1\n", f"\n1\n{ROOT}\n",
        f"log\n01\n{ROOT}\n", f"log\n-1\n{ROOT}\n", f"log\n+1\n{ROOT}\n", f"log\n 1\n{ROOT}\n",
        f"log\n\u0661\n{ROOT}\n",
        f"log\n{10**18}\n{ROOT}\n", f"log\n1\n{ROOT[:-1]}\n", "log\n1\nAAAA\n", f"log\n1\n{ROOT} \n", "log\n1\n-\n",
    ],
)  # fmt: skip
def test_what_has_another_form_is_no_checkpoint(text: str) -> None:
    with pytest.raises(NoteInvalid):
        parse_checkpoint(text)


@given(st.text(st.characters(exclude_characters="\n", codec="utf-8"), min_size=1), st.integers(0, 10**17))
def test_every_checkpoint_is_read_as_it_was_written(origin: str, size: int) -> None:
    checkpoint = Checkpoint(origin, size, hashlib.sha256(origin.encode()).digest())
    assert parse_checkpoint(format_checkpoint(checkpoint)) == checkpoint


@given(st.binary(max_size=200))
def test_bytes_are_read_as_a_note_or_refused(content: bytes) -> None:
    try:
        note = parse_note(content)
    except NoteInvalid:
        return
    assert format_note(note.text, note.signatures).encode() == content
