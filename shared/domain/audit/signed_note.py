"""Signed notes: a text, and lines with signatures of it.

Source: https://c2sp.org/signed-note. Of the types of signatures only 0x02 is used: ECDSA over P-256 with SHA-256. The
id of such a key is not derived from its name.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Final, TypeAlias

from shared.domain.values import value

KEY_ID_BYTES: Final = 4
MAX_SIGNATURES: Final = 64
"""A note with more is refused. The specification demands that 16 are accepted."""
MAX_NOTE_BYTES: Final = 1_000_000
_DASH: Final = "\N{EM DASH} "
_CONTROL: Final = re.compile(r"[\x00-\x09\x0b-\x1f]")


class NoteInvalid(ValueError):
    """A text is no signed note, or no trusted key has signed it. The message tells the reason."""


@value
class KeyId:
    """A key as signatures name it."""

    name: str
    hint: bytes
    """The first four bytes of a hash of the public key."""


@value
class NoteSignature:
    """A signature of a note."""

    key: KeyId
    signature: bytes
    """ECDSA: in DER."""


@value
class SignedNote:
    """A note whose form is right. Its signatures are not verified."""

    text: str
    signatures: Sequence[NoteSignature]


Verifier: TypeAlias = Callable[[bytes, bytes], bool]
"""Tells whether a signature (first argument) is that of a key over a message (second argument)."""


@value
class PublicKey:
    """A key that may sign notes."""

    encoded: bytes
    """SubjectPublicKeyInfo in DER."""
    verify: Verifier


def named_keys(name: str, keys: Iterable[PublicKey]) -> dict[KeyId, Verifier]:
    """Return the keys of a name, by their ids."""
    return {key_id(name, key.encoded): key.verify for key in keys}


def key_id(name: str, public_key: bytes) -> KeyId:
    """Return the id of an ECDSA key, whose public key is given as SubjectPublicKeyInfo in DER."""
    return KeyId(name, hashlib.sha256(public_key).digest()[:KEY_ID_BYTES])


def is_key_name(text: str) -> bool:
    """Tell whether a text can be the name of a key: not empty, without spaces, control characters and plus signs."""
    return bool(text) and text.isprintable() and not any(each.isspace() or each == "+" for each in text)


def format_note(text: str, signatures: Iterable[NoteSignature]) -> str:
    """Return a note with its signatures. `text` ends with a line feed."""
    return f"{text}\n{''.join(map(_line, signatures))}"


def parse_note(content: bytes) -> SignedNote:
    """Read a note. Raises `NoteInvalid` unless it has exactly the form of the specification."""
    if len(content) > MAX_NOTE_BYTES:
        raise NoteInvalid("the note is too large")
    try:
        note = content.decode()
    except UnicodeDecodeError:
        raise NoteInvalid("the note is not UTF-8") from None
    if _CONTROL.search(note):
        raise NoteInvalid("the note has a control character")
    text, separator, lines = note.rpartition("\n\n")
    if not separator or not lines.endswith("\n"):
        raise NoteInvalid("the note has no signatures after an empty line")
    signatures = [_signature(line) for line in lines[:-1].split("\n")]
    if len(signatures) > MAX_SIGNATURES:
        raise NoteInvalid(f"the note has more than {MAX_SIGNATURES} signatures")
    return SignedNote(f"{text}\n", tuple(signatures))


def require_signed(note: SignedNote, keys: Mapping[KeyId, Verifier]) -> Sequence[KeyId]:
    """Return the known keys that have signed a note. Signatures of unknown keys are ignored.

    Raises `NoteInvalid` if there is none, or if the signature of a known key is wrong.
    """
    message, found = note.text.encode(), list[KeyId]()
    for each in note.signatures:
        verify = keys.get(each.key)
        if verify is None:
            continue
        if not verify(each.signature, message):
            raise NoteInvalid(f"the signature of the key {each.key.name} ({each.key.hint.hex()}) is wrong")
        found.append(each.key)
    if not found:
        raise NoteInvalid("no known key has signed the note")
    return found


def _line(signature: NoteSignature) -> str:
    encoded = base64.b64encode(signature.key.hint + signature.signature).decode()
    return f"{_DASH}{signature.key.name} {encoded}\n"


def _signature(line: str) -> NoteSignature:
    name, space, encoded = line.removeprefix(_DASH).partition(" ")
    if not line.startswith(_DASH) or not space or not is_key_name(name):
        raise NoteInvalid("a line after the text is no signature")
    content = decoded_base64(encoded)
    if content is None or len(content) <= KEY_ID_BYTES:
        raise NoteInvalid(f"the signature of the key {name} is no base64, or too short")
    return NoteSignature(KeyId(name, content[:KEY_ID_BYTES]), content[KEY_ID_BYTES:])


def decoded_base64(text: str) -> bytes | None:
    """Decode standard base64; `None` unless the text is exactly the encoding of some bytes."""
    try:
        content = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return content if base64.b64encode(content).decode() == text else None
