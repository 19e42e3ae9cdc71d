"""Random edits of a package: of bytes, lines, rows, properties and whole files, with digests that fit or not."""

from __future__ import annotations

import gzip
import hashlib
import json
import random
from collections.abc import Callable
from typing import Any, TypeAlias

from shared.domain.audit.hash_chain import canonical
from tests.tools.finished_month import PERIOD
from tests.tools.tampering import Books

Files: TypeAlias = dict[str, bytes]
Edit: TypeAlias = Callable[[Files, str, random.Random], None]
STATEMENTS = f"statements/{PERIOD}"
ADDED = (
    "notes.txt",
    "audit/2026-09.jsonl",
    "anchors/leaf/1.json",
    f"{STATEMENTS}/notes.csv",
    "periods/2026-09.gz",
)


def of_bytes(files: Files, name: str, chance: random.Random) -> None:
    """Flip a bit, or cut, repeat or remove some bytes; cut the rest of the file."""
    content = files[name]
    at = chance.randrange(len(content))
    match chance.randrange(5):
        case 0:
            content = content[:at] + bytes([content[at] ^ 1 << chance.randrange(8)]) + content[at + 1 :]
        case 1:
            content = content[:at] + content[at + chance.randrange(1, 40) :]
        case 2:
            content = content[:at]
        case 3:
            content = content[:at] + content[:at][-20:] + content[at:]
        case _:
            digits = [place for place, byte in enumerate(content) if 48 <= byte < 58] or [at]
            place = chance.choice(digits)
            content = content[:place] + str(chance.randrange(10)).encode() + content[place + 1 :]
    files[name] = content


def of_lines(files: Files, name: str, chance: random.Random) -> None:
    """Remove, repeat, exchange or shuffle lines; of an archive those in the gzip file, with a last line that fits."""
    content = gzip.decompress(files[name]) if name.endswith(".gz") else files[name]
    lines = content.splitlines(keepends=True)
    tail = [lines.pop()] if name.endswith(".gz") else []
    which, other = chance.randrange(len(lines)), chance.randrange(len(lines))
    match chance.randrange(4):
        case 0:
            del lines[which]
        case 1:
            lines.insert(other, lines[which])
        case 2:
            lines[which], lines[other] = lines[other], lines[which]
        case _:
            chance.shuffle(lines)
    if tail:
        digest = {"rows": len(lines) - 1, "sha256": hashlib.sha256(b"".join(lines)).hexdigest()}
        lines.append(json.dumps(digest, separators=(",", ":")).encode() + b"\n")
    files[name] = gzip.compress(b"".join(lines), 1) if tail else b"".join(lines)


def of_whole_files(files: Files, name: str, chance: random.Random) -> None:
    """Remove a file, empty it, put another one in its place, or add one."""
    other = chance.choice(sorted(files))
    match chance.randrange(5):
        case 0:
            del files[name]
        case 1:
            files[name] = b""
        case 2:
            files[name], files[other] = files[other], files[name]
        case 3:
            files[name] = files[other]
        case _:
            files[chance.choice(ADDED)] = files[name]


def of_rows(files: Files, name: str, chance: random.Random) -> None:
    """Change rows of an archive. Every other time the lane is chained anew with the chain key."""
    books = Books.read(files[name])
    which, other = chance.randrange(len(books.rows)), chance.randrange(len(books.rows))
    table, partition, key, fields = books.rows[which]
    match chance.randrange(7):
        case 0 | 1 | 2:
            _change(fields, chance)
        case 3:
            del books.rows[which]
        case 4:
            books.rows[which] = (*books.rows[which][:3], books.rows[other][3])
            books.rows[other] = (*books.rows[other][:3], fields)
        case 5:
            place, names = [table, partition, key], books.rows[other][:3]
            place[chance.randrange(3)] = names[chance.randrange(3)]
            books.rows.insert(other, (place[0], place[1], place[2], dict(fields)))
        case _:
            _change(chance.choice(books.head["prices"]), chance)
    if chance.randrange(2) and all("seq" in row[3] for row in books.entries(partition)):
        books.rechain(partition, PERIOD)
    files[name] = books.content()


def of_properties(files: Files, name: str, chance: random.Random) -> None:
    """Change a property in a file of JSON. Its form stays right, and every other time digests fit."""
    is_lined, is_statement = name.endswith(".jsonl"), name.startswith(STATEMENTS)
    lines = files[name].split(b"\n") if is_lined else [files[name]]
    which = chance.randrange(max(len(lines) - 1, 1))
    try:
        document = json.loads(lines[which])
    except ValueError:
        return of_bytes(files, name, chance)  # no JSON: a page, a table or a signature
    _change(document, chance)
    if is_statement or name == "manifest.json":
        lines[which] = json.dumps(document, indent=2, ensure_ascii=False).encode() + b"\n"
    else:
        lines[which] = canonical(document)
    files[name] = b"\n".join(lines)
    if chance.randrange(2):
        _fit(files, name)
    return None


def _fit(files: Files, name: str) -> None:
    """Chain an audit log anew, or write the digests of statements into their manifest."""
    if name.startswith("audit/"):
        head, *rows = [json.loads(line) for line in files[name].splitlines()]
        last = str(head.get("deleted", {}).get("head"))
        for row in rows:
            covered = {key: value for key, value in row.items() if key not in {"hash", "mac"}}
            last = row["hash"] = hashlib.sha256(last.encode() + canonical(covered)).hexdigest()
        head["head"] = last
        files[name] = b"".join(canonical(row) + b"\n" for row in (head, *rows))
    elif name.startswith(STATEMENTS) and not name.endswith("manifest.json"):
        manifest = json.loads(files[f"{STATEMENTS}/manifest.json"])
        for file in manifest["files"]:
            content = files[f"{STATEMENTS}/{file['name']}"]
            file |= {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
        files[f"{STATEMENTS}/manifest.json"] = json.dumps(manifest, indent=2, ensure_ascii=False).encode() + b"\n"


def _change(value: Any, chance: random.Random) -> None:  # noqa: C901 - a case for each kind of change
    """Change something in an object or an array: a value, a name, or that it is there."""
    while isinstance(value, list) and value:
        value = chance.choice(value)
    if not isinstance(value, dict) or not value:
        return None
    name = chance.choice(sorted(value))
    inner = value[name]
    if isinstance(inner, (dict, list)) and inner and chance.randrange(4):
        return _change(inner, chance)
    match chance.randrange(6):
        case 0:
            del value[name]
        case 1:
            value["note"] = 1
        case 2:
            value[name] = value[chance.choice(sorted(value))]
        case _ if isinstance(inner, bool):
            value[name] = not inner
        case _ if isinstance(inner, int):
            value[name] = inner + chance.choice((1, -1, 1000, -inner))
        case _ if isinstance(inner, str):
            value[name] = chance.choice((f"{inner}0", inner[:-1], inner.swapcase(), "", inner[::-1]))
        case _:
            value[name] = chance.choice((0, "", [], {}))
    return None


def chosen(files: Files, chance: random.Random) -> str:
    """Return a file of any folder, so that each kind of file is edited as often as the many files of the log."""
    folder = chance.choice(sorted({name.partition("/")[0] for name in files}))
    return chance.choice(sorted(name for name in files if name.partition("/")[0] == folder))


def edits_of(name: str) -> list[Edit]:
    """Return the kinds of edits that a file can have."""
    if name.endswith(".gz"):
        return [of_rows, of_rows, of_rows, of_lines, of_bytes, of_whole_files]
    return [of_properties, of_properties, of_lines, of_bytes, of_whole_files]
