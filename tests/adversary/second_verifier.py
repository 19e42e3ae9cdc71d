"""A second verifier, written from docs/reference/formats.md alone. It imports nothing of the gateway.

    python -m tests.adversary.second_verifier ARCHIVE ANCHORS PUBLIC_KEY

It prints what is wrong, a line each. Exit status: 0 nothing is wrong, 1 something is, 2 nobody can say.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import io
import json
import re
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime, timedelta
from decimal import Decimal
from itertools import pairwise
from pathlib import Path
from typing import Any
from urllib.parse import quote

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, EllipticCurvePublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_public_key

from tests.adversary.second_rows import CANNOT_BE_READ, DEFAULTS, Books, Fields, Prices
from tests.adversary.second_statements import verify_statements

Read = Callable[[str], bytes | None]
PERIOD = re.compile(r"(?!0000)[0-9]{4}-(?:0[1-9]|1[0-2])")
HEX = re.compile(r"[0-9a-f]{64}")
ACCEPTED, VIOLATED, NOBODY_CAN_SAY = 0, 1, 2


class Open(str):
    """Something of which nobody can say if it is wrong."""


def status(told: Iterable[str]) -> int:
    """Return the result of everything that was told."""
    kinds = {NOBODY_CAN_SAY if isinstance(each, Open) else VIOLATED for each in told}
    return VIOLATED if VIOLATED in kinds else max(kinds, default=ACCEPTED)


def canonical(value: Any) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode(errors="replace")


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def tree_root(leaves: list[bytes]) -> bytes:
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return hashlib.sha256(b"\x00" + leaves[0]).digest()
    split = 1
    while split * 2 < len(leaves):
        split *= 2
    return hashlib.sha256(b"\x01" + tree_root(leaves[:split]) + tree_root(leaves[split:])).digest()


def root_of_path(leaf: bytes, index: int, size: int, path: list[bytes]) -> bytes | None:
    """Follow RFC 9162, section 2.1.3.2."""
    number, last, node = index, size - 1, hashlib.sha256(b"\x00" + leaf).digest()
    if not 0 <= index < size:
        return None
    for sibling in path:
        if last == 0:
            return None
        if number & 1 or number == last:
            node = hashlib.sha256(b"\x01" + sibling + node).digest()
            while not number & 1 and number:
                number, last = number >> 1, last >> 1
        else:
            node = hashlib.sha256(b"\x01" + node + sibling).digest()
        number, last = number >> 1, last >> 1
    return node if last == 0 else None


class Chain:
    """Entries of one chain, and the heads that a log has of it."""

    def __init__(self, name: str, genesis: str, seq: int = 0) -> None:
        self.name = name
        self.head = genesis
        self.seq = seq
        self.hashes = {seq: genesis}
        self.times: dict[int, str] = {}
        self.kinds: dict[int, str] = {}

    def add(self, fields: dict[str, Any]) -> Iterator[str]:
        self.seq += 1
        covered = {name: value for name, value in fields.items() if name not in {"hash", "mac"}}
        if fields.get("seq") != self.seq or isinstance(fields.get("seq"), bool):
            yield f"{self.name}: entry {fields.get('seq')} stands where {self.seq} belongs"
        if fields.get("method") != "sha256":
            yield f"{self.name}: entry {self.seq} is not chained by SHA-256"
        elif sha256(self.head.encode() + canonical(covered)) != fields.get("hash"):
            yield f"{self.name}: entry {self.seq} does not continue the chain"
        elif not re.fullmatch(r"[0-9a-z]{1,32}", str(fields.get("key_version", "")), re.ASCII):
            yield f"{self.name}: entry {self.seq} names no key version"
        elif not HEX.fullmatch(str(fields.get("mac", ""))):
            yield f"{self.name}: entry {self.seq} has no mac"
        self.head = str(fields.get("hash"))
        self.hashes[self.seq] = self.head
        self.times[self.seq] = str(fields.get("timestamp", ""))
        self.kinds[self.seq] = str(fields.get("kind", ""))


class Log:
    """The log of heads, read from its first leaf."""

    def __init__(self, read: Read, keys: list[EllipticCurvePublicKey], *, has_heads: bool) -> None:
        self._read = read
        self._keys = keys
        self._has_heads = has_heads
        self.roots: list[bytes] = []
        self.heads: dict[str, dict[int, str]] = {}
        self.final: set[str] = set()
        self.signed = 0
        self.newest: set[str] | None = None if has_heads else set()
        self.at = ""
        self.origin = ""
        self.wrong = [*self._replay()]

    def _replay(self) -> Iterator[str]:  # noqa: C901 - the steps of the document, in its order
        leaves: list[bytes] = []
        before: dict[str, dict[str, Any]] = {}
        waiting: list[list[dict[str, Any]]] = []
        while (content := self._read(f"leaf/{len(leaves):010}.json")) is not None:
            n = len(leaves)
            leaves.append(content)
            try:
                leaf = json.loads(content)
                rows = self._rows(n)
                if canonical(leaf) != content or leaf["n"] != n or leaf["period"] != leaf["at"][:7]:
                    yield f"leaf {n} is not canonical, or states another number or period"
                root, final = base64.b64decode(leaf["heads_root"], validate=True), leaf.get("final", [])
                kinds = [type(leaf[each]) for each in ("at", "count", "n", "period")]
                if {*leaf} - {"final"} != {"at", "count", "heads_root", "n", "period"} or kinds != [str, int, int, str]:
                    raise ValueError("the leaf is not in its form")
                if len(root) != 32 or ("final" in leaf and (not final or sorted({*final}) != final)):
                    raise ValueError("the leaf is not in its form")
            except (ValueError, TypeError, KeyError) as error:
                yield f"leaf {n} cannot be read: {error}"
                return
            self.roots.append(root)
            if rows is not None:
                if tree_root([canonical(row) for row in rows]) != root or leaf["count"] != len(rows):
                    yield f"leaf {n} has other heads"
                yield from self._compare(n, before, rows, final)
                waiting.append([row for row in rows if row["seq"] >= 0])
            note = self._read(f"checkpoint/{n + 1:010}")
            if note is None:
                if self._read(f"leaf/{n + 1:010}.json") is not None:
                    yield f"the checkpoint of leaf {n} is missing"
                continue
            yield from self._note(note, n, leaves)
            for signed in waiting:
                for row in signed:
                    self.heads.setdefault(row["chain"], {})[row["seq"]] = row["head"]
            waiting.clear()
            self.final, self.at, self.signed = set(final), leaf["at"], n + 1
        n = len(leaves)
        later = (f"heads/{n:010}.json", f"leaf/{n + 1:010}.json", f"checkpoint/{n + 1:010}")
        if any(self._read(path) is not None for path in later):
            yield f"leaf {len(leaves)} is missing"
        if not leaves:
            yield "the log has no leaf"

    def _rows(self, n: int) -> list[dict[str, Any]] | None:
        if not self._has_heads:
            return None
        content = self._read(f"heads/{n:010}.json") or b""
        rows: list[dict[str, Any]] = json.loads(content)
        for row in rows:
            kinds = [type(row[name]) for name in ("chain", "head", "seq")]
            if {*row} - {"closed"} != {"chain", "head", "seq"} or row.get("closed", True) is not True:
                raise ValueError("a row is no head")
            if kinds != [str, str, int] or row["seq"] < -1:
                raise ValueError("a row is no head")
        chains = [row["chain"] for row in rows]
        if canonical(rows) != content or sorted(set(chains)) != chains:
            raise ValueError("the heads are not canonical")
        return rows

    def _compare(  # noqa: C901 - the steps of the document, in its order
        self, n: int, before: dict[str, dict[str, Any]], rows: list[dict[str, Any]], final: list[str]
    ) -> Iterator[str]:
        old_final = {*before.pop("final", {"groups": []})["groups"]}
        now = {row["chain"]: row for row in rows}
        for chain, row in now.items():
            old = before.get(chain)
            group = "/".join(chain.split("/")[:2])
            if group in old_final:
                yield f"leaf {n}: {chain} is there again"
            if old and row["seq"] >= 0:
                is_other = row["seq"] == old["seq"] and row["head"] != old["head"]
                if row["seq"] < old["seq"] or is_other or (old.get("closed") and row != old):
                    yield f"leaf {n}: {chain} has lost or other entries"
        for chain in before.keys() - now.keys():
            if "/".join(chain.split("/")[:2]) not in old_final:
                yield f"leaf {n}: {chain} is missing"
        groups: dict[str, bool] = {}
        for chain, row in now.items():
            group = "/".join(chain.split("/")[:2])
            groups[group] = groups.get(group, True) and row.get("closed") is True
        if sorted({*old_final, *(group for group, closed in groups.items() if closed)}) != final:
            yield f"leaf {n} names other final groups"
        kept = {chain: before[chain] for chain, row in now.items() if row["seq"] < 0 and chain in before}
        before.clear()
        before.update({chain: row for chain, row in now.items() if row["seq"] >= 0} | kept)
        before["final"] = {"groups": final}

    def _note(self, note: bytes, n: int, leaves: list[bytes]) -> Iterator[str]:  # noqa: C901 - the steps of the document, in its order
        try:
            text, _, lines = note.decode().rpartition("\n\n")
            origin, size, root = text.split("\n")
        except ValueError:
            yield f"the checkpoint of leaf {n} is no note"
            return
        message, is_signed = f"{text}\n".encode(), False
        self.origin = origin
        for line in lines.removesuffix("\n").split("\n"):
            try:
                dash, name, encoded = line.split(" ")
                content = base64.b64decode(encoded, validate=True)
                if base64.b64encode(content).decode() != encoded:
                    raise ValueError
            except ValueError:
                yield f"the checkpoint of leaf {n} has a line that is no signature"
                return
            for key in self._keys:
                encoded_key = key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
                if dash != "\N{EM DASH}" or name != origin or hashlib.sha256(encoded_key).digest()[:4] != content[:4]:
                    continue
                try:
                    key.verify(content[4:], message, ECDSA(SHA256()))
                    is_signed = True
                except InvalidSignature:
                    yield f"the checkpoint of leaf {n} has a wrong signature"
        if not lines.endswith("\n") or not is_signed:
            yield f"the checkpoint of leaf {n} is not signed by a known key"
        if size != str(n + 1) or base64.b64encode(tree_root(leaves)).decode() != root:
            yield f"the checkpoint of leaf {n} has another size or root"


class Unreadable(Exception):
    """A file that cannot be read. Then nobody can say anything."""


def read_archive(  # noqa: C901 - the steps of the document, in its order
    content: bytes, only: str | None = None
) -> tuple[Books, dict[str, Chain], list[str]]:
    """Return the rows, the chains of the lanes, and what is wrong with both. Raises `Unreadable`."""
    try:
        lines = [line + b"\n" for line in _grown(content).split(b"\n")]
        head, *rows, tail, rest = [_one_form(line) for line in lines[:-1]] + [lines[-1]]
        digest = {"rows": len(rows), "sha256": sha256(b"".join(lines[:-2]))}
        if tail != digest or rest != b"\n" or [*head] != ["format", "period", "prices"]:
            raise ValueError("head or tail do not fit")
        if head["format"] != "tallygate-period-1" or not PERIOD.fullmatch(head["period"]):
            raise ValueError("the head is none of an archive")
        books = Books(head["period"], Prices(head["prices"]))
        for row in rows:
            if [type(each) for each in row] != [str, str, str, dict]:
                raise ValueError("a row is none")
        if len({(table, partition, key) for table, partition, key, _ in rows}) != len(rows):
            raise ValueError("a row is there twice")
    except (*CANNOT_BE_READ, OSError, EOFError, zlib.error, RecursionError) as error:
        raise Unreadable(f"the archive cannot be read: {error!r}") from error
    wrong = [*books.read([(table, partition, key, fields) for table, partition, key, fields in rows], only)]
    chains: dict[str, Chain] = {}
    for name, lane in books.lanes.items():
        chain = chains[name] = Chain(name, sha256(f"{books.period}/{name}".encode()))
        for entry in lane.entries:
            wrong += [*chain.add({each: value for each, value in entry.items() if each})]
        if lane.balance and (lane.balance.get("seq"), lane.balance.get("head")) != (chain.seq, chain.head):
            wrong.append(f"{name}: the chain does not end at the balance")
    return books, chains, [*wrong, *books.check()]


def _grown(content: bytes) -> bytes:
    most = 200 * len(content) + (1 << 20)
    with gzip.GzipFile(fileobj=io.BytesIO(content)) as file:
        grown = file.read(most + 1)
    if len(grown) > most:
        raise ValueError("the file grows without an end")
    return grown


def _one_form(line: bytes) -> Any:
    """Return the value of a line. Raises `ValueError` if it is not written back as the same bytes."""
    value = json.loads(line)
    if json.dumps(value, separators=(",", ":"), ensure_ascii=False).encode() + b"\n" != line:
        raise ValueError("a line is not in its form")
    return value


def compare(log: Log, chains: dict[str, Chain], groups: Iterable[str]) -> Iterator[str]:
    """Compare chains, by their names in the log, with the heads of these groups."""
    for group in groups:
        for name in sorted(name for name in log.heads if f"{name}/".startswith(f"{group}/")):
            chain = chains.get(name)
            if chain is None:
                yield f"{name} is missing"
                continue
            for seq, head in sorted(log.heads[name].items()):
                if seq >= min(chain.hashes) and chain.hashes.get(seq) != head:
                    yield f"{name}: entry {seq} is missing or another than anchored"
                    break
        for name, chain in chains.items():
            if f"{name}/".startswith(f"{group}/"):
                yield from _beyond(log, name, chain, is_final=group in log.final)


def _beyond(log: Log, name: str, chain: Chain, *, is_final: bool) -> Iterator[str]:
    anchored = max(log.heads.get(name, {0: ""}))
    if name in log.heads and is_final and chain.kinds.get(anchored, "close") != "close":
        yield f"{name}: the last head is not that of the entry that closed it"
    if name in log.heads and not is_final and log.newest is not None and name not in log.newest:
        yield f"{name}: nothing proves its head in the newest leaf"
    for seq in range(anchored + 1, chain.seq + 1):
        text = chain.times.get(seq, "")
        if is_final or (text and _moment(text) + timedelta(minutes=10) < _moment(log.at)):
            yield f"{name}: entry {seq} should be in a leaf, and is in none"
            return
    if chain.seq > anchored:
        yield Open(f"{name}: the entries after {anchored} are in no leaf yet")


def _moment(text: str) -> datetime:
    try:
        return datetime.fromisoformat(text)
    except ValueError:
        return datetime.max.replace(tzinfo=UTC)


def verify_archive(archive: bytes, read: Read, keys: list[EllipticCurvePublicKey]) -> list[str]:
    """Return what is wrong in an archive and a log."""
    try:
        log = Log(read, keys, has_heads=True)
        return [*log.wrong, *_books(archive, log)[1]]
    except Unreadable as error:
        return [Open(str(error))]


def _books(archive: bytes, log: Log, only: str | None = None) -> tuple[Books, list[str]]:
    """Return the rows of an archive, and what is wrong with them. Raises `Unreadable`."""
    books, lanes, wrong = read_archive(archive, only)
    named = {f"ledger/{books.period}/{name}": lane for name, lane in lanes.items()}
    return books, [*wrong, *compare(log, named, [f"ledger/{books.period}"])]


def add_proofs(log: Log, lines: Iterable[bytes]) -> Iterator[str]:
    """Add heads that are proved one by one."""
    for number, line in enumerate(lines, 1):
        try:
            row = json.loads(line)
            place, head, n = row["heads"], row["head"], row["n"]
            path = [base64.b64decode(node, validate=True) for node in place["path"]]
            names = [{*row}, {*place}, {*head} - {"closed"}]
            numbers = [type(each) for each in (n, place["index"], place["size"], head["seq"])]
            is_form = names == [{"head", "heads", "n"}, {"index", "path", "size"}, {"chain", "head", "seq"}]
            is_form = is_form and numbers == [int] * 4 and head.get("closed", True) is True and canonical(row) == line
            is_right = (
                is_form
                and 0 <= n < log.signed
                and log.roots[n] == root_of_path(canonical(head), place["index"], place["size"], path)
            )
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
            is_right = False
        if not is_right:
            yield f"line {number} of proofs/heads.jsonl proves nothing"
            continue
        if n + 1 == log.signed and log.newest is not None:
            log.newest.add(head["chain"])
        if head["seq"] >= 0:
            log.heads.setdefault(head["chain"], {})[head["seq"]] = head["head"]


MANIFEST = ("format", "origin", "tenant", "periods", "files")


def read_package(package: bytes) -> tuple[dict[str, bytes], dict[str, Any]]:
    """Return the files of a package, and its manifest. Raises `Unreadable`."""
    try:
        with zipfile.ZipFile(io.BytesIO(package)) as file:
            infos = file.infolist()
            files = {info.filename: file.read(info) for info in infos}
        content = files.pop("manifest.json")
        manifest = json.loads(content)
        written = json.dumps(manifest, indent=2, ensure_ascii=False).encode() + b"\n"
        names = [[*each] for each in manifest["files"]]
        if written != content or tuple(manifest) != MANIFEST or len(files) + 1 != len(infos):
            raise ValueError("the manifest is not in its form")
        if names != [["name", "bytes", "sha256"]] * len(names) or manifest["format"] != "tallygate-evidence-1":
            raise ValueError("the manifest is not in its form")
        if manifest["tenant"] is not None and not re.fullmatch(r"[a-z0-9][a-z0-9-]{0,39}", manifest["tenant"]):
            raise ValueError("the tenant is none")
        if not isinstance(manifest["periods"], list) or not isinstance(manifest["files"], list):
            raise ValueError("the manifest is not in its form")
        texts = [
            manifest["origin"],
            *manifest["periods"],
            *(each[name] for each in manifest["files"] for name in ("name", "sha256")),
        ]
        if not all(isinstance(text, str) for text in texts) or not all(
            type(each["bytes"]) is int for each in manifest["files"]
        ):
            raise ValueError("the manifest is not in its form")
        return files, dict(manifest)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, NotImplementedError, RuntimeError,
            OSError, EOFError, zlib.error, zipfile.BadZipFile) as error:  # fmt: skip
        raise Unreadable(f"the package cannot be read: {error!r}") from error


def verify_package(package: bytes, keys: list[EllipticCurvePublicKey]) -> list[str]:
    """Return what is wrong in an evidence package."""
    try:
        files, manifest = read_package(package)
        return [*_package(files, manifest, keys)]
    except Unreadable as error:
        return [Open(str(error))]


def _package(  # noqa: C901 - the steps of the document, in its order
    files: dict[str, bytes], manifest: dict[str, Any], keys: list[EllipticCurvePublicKey]
) -> Iterator[str]:
    stated = {each["name"]: (each["bytes"], each["sha256"]) for each in manifest["files"]}
    only, periods = manifest["tenant"], manifest["periods"]
    if [each["name"] for each in manifest["files"]] != sorted(stated):
        yield "manifest.json does not name each file once, in their order"
    for name in sorted(stated.keys() | files.keys()):
        if name not in files or stated.get(name) != (len(files[name]), sha256(files[name])):
            yield f"{name} is not the file of the manifest"
        if not _belongs(name, files, periods, only):
            yield f"{name} does not belong there"
    for name, content in files.items():
        if name.endswith(".jsonl") and content and not content.endswith(b"\n"):
            yield f"{name} does not end with a line"
    there = sorted(found[1] for name in files if (found := re.fullmatch(r"periods/([0-9]{4}-[0-9]{2})\.gz", name)))
    if there != sorted(periods):
        yield "manifest.json names other periods than there are books"
    log = Log(lambda path: files.get(f"anchors/{path}"), keys, has_heads=only is None)
    yield from log.wrong
    if log.signed and log.origin != manifest["origin"]:
        yield "manifest.json names another log"
    if only is not None:
        yield from add_proofs(log, files.get("proofs/heads.jsonl", b"").split(b"\n")[:-1])
    booked: dict[tuple[str, str], list[Fields]] = {}
    for period in there:
        books, wrong = _books(files[f"periods/{period}.gz"], log, only)
        yield from wrong
        if books.period != period:
            yield f"periods/{period}.gz is of another period"
        yield from verify_statements(files, period, books)
        for lane in books.lanes.values():
            if lane.number == 0:
                booked[lane.tenant, period] = lane.booked
        if only is None:
            yield from compare_prices(files[f"periods/{period}.gz"], files.get("documents.jsonl", b""), period)
    if only is None:
        yield from verify_audit(files, log, periods, booked)


def _belongs(name: str, files: dict[str, bytes], periods: list[str], only: str | None) -> bool:
    statements = set()
    for period in periods:
        folder = f"statements/{period}/"
        if f"{folder}manifest.json" in files:
            statements.add(f"{folder}manifest.json")
            try:
                manifest = json.loads(files[f"{folder}manifest.json"])
                statements |= {f"{folder}{each['name']}" for each in manifest["files"]}
            except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
                pass
    own = {"configuration.jsonl", "summary.html", *statements, *(f"periods/{period}.gz" for period in periods)}
    of_log = r"anchors/leaf/[0-9]{10}\.json|anchors/checkpoint/(?!0{10})[0-9]{10}"
    if only is None:
        pattern = rf"{of_log}|anchors/heads/[0-9]{{10}}\.json|audit/[0-9]{{4}}-[0-9]{{2}}\.jsonl|documents\.jsonl"
    else:
        pattern = rf"{of_log}|proofs/heads\.jsonl"
    return name in own or re.fullmatch(pattern, name) is not None


def verify_audit(  # noqa: C901 - the steps of the document, in its order
    files: dict[str, bytes], log: Log, periods: list[str], booked: dict[tuple[str, str], list[Fields]]
) -> Iterator[str]:
    """Check the audit log, documents, the history of the configuration, and the manifests of statements."""
    chains: dict[str, Chain] = {}
    history, manifests, ids = b"", dict[str, set[str]](), list[str]()
    events: list[dict[str, Any]] = []
    cut: dict[str, tuple[int, str]] = {}
    for name in sorted(name for name in files if name.startswith("audit/")):
        period = name.removeprefix("audit/").removesuffix(".jsonl")
        try:
            head, *rows = [json.loads(line) for line in files[name].splitlines()]
            genesis = {"seq": 0, "head": sha256(f"{period}/audit".encode())}
            deleted = head["deleted"]
            if b"".join(canonical(row) + b"\n" for row in (head, *rows)) != files[name]:
                yield f"{name} is not canonical"
            is_head = {*head} == {"format", "period", "seq", "head", "deleted"} and {*deleted} == {"seq", "head"}
            if (head["format"], head["period"], is_head) != ("tallygate-audit-1", period, True) or (
                deleted["seq"] == 0 and deleted != genesis
            ):
                yield f"{name} begins wrongly"
            if deleted["seq"] > 0:
                cut[period] = deleted["seq"], deleted["head"]
            chain = chains[f"audit/{period}"] = Chain(f"audit/{period}", deleted["head"], deleted["seq"])
            for row in rows:
                yield from chain.add(row)
                ids.append(row["event_id"])
                event = json.loads(row["event"])
                if not isinstance(event, dict):
                    raise ValueError("an event is none")
                events.append(event)
                if event.get("place"):
                    history += row["event"].encode() + b"\n"
                if event.get("action") == "statements.write":
                    manifests.setdefault(event["target"], set()).add(event["after"]["manifest_sha256"])
            if (head["seq"], head["head"]) != (chain.seq, chain.head):
                yield f"{name} does not end at its head"
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            yield f"{name} cannot be read: {error!r}"
    if len({*ids}) != len(ids):
        yield "an event is chained twice"
    groups = {name for name in log.heads if name.startswith("audit/")} | chains.keys()
    yield from compare(log, chains, sorted(groups))
    told = {(str(each["target"]), each["after"]["deleted_seq"], each["after"]["deleted_head"])
            for each in events if each.get("action") == "audit.delete"}  # fmt: skip
    explained = {month for month, end in cut.items() if (month, *end) in told}
    for month in sorted(cut.keys() - explained):
        message = f"nothing tells that the first events of {month} were deleted"
        yield Open(message) if any(later > month for later in explained) else message
    lawful = {month for month in cut if month in explained or any(later > month for later in explained)}
    yield from verify_documents(files.get("documents.jsonl"), events, lawful, log.at)
    if files.get("configuration.jsonl") != history:
        yield "configuration.jsonl is not what the audit log has"
    for period in sorted(manifests.keys() & {*periods}):
        content = files.get(f"statements/{period}/manifest.json")
        if content is None or sha256(content) not in manifests[period]:
            yield f"statements/{period}/manifest.json is not that of the audit log"
    yield from verify_limits(events, lawful, booked)


def verify_limits(  # noqa: C901 - the steps of the document, in its order
    events: list[dict[str, Any]], deleted: set[str], booked: dict[tuple[str, str], list[Fields]]
) -> Iterator[str]:
    """Check that an event tells each grant and each limit."""
    grants: set[tuple[Any, ...]] = set()
    limits: dict[str, set[tuple[int | None, int | None]]] = {}
    first: dict[str, str] = {}
    for event in events:
        try:
            table, _, rest = str(event["place"]).partition("/")
            if event["action"] == "tenant.grant":
                after = event["after"]
                granted = (after["tokens"], _pusd(after["usd"]))
                grants.add((event["target"], after["period"], after["grant_id"], granted))
            elif table == "tenants" and event["action"] != "tenant.grant.refuse":
                tenant, at = rest.partition("/")[0], event["at"]
                if event["action"] == "baseline":
                    later = datetime.fromisoformat(at) + timedelta(hours=1)
                    at = f"{later:%Y-%m-%dT%H:%M:%S}.{later.microsecond // 1000:03}Z"
                first[tenant] = min(at, first.get(tenant, at))
                for stated in (event["before"], event["after"]):
                    if stated is not None:
                        limit = stated.get("monthly_quota_tokens"), _pusd(stated.get("monthly_budget_usd"))
                        limits.setdefault(tenant, set()).add(limit)
        except (ValueError, KeyError, TypeError, AttributeError, ArithmeticError):
            continue
    for (tenant, period), changes in booked.items():
        for change in changes:
            at = period if change["at"] is None else change["at"]
            key = (tenant, period, change["grant_id"], change["granted"])
            is_told = key in grants if change["grant_id"] else change["limit"] in limits.get(tenant, ())
            is_older = at < first.get(tenant, "~") or any(month <= at for month in deleted)
            if not (is_told or is_older):
                yield f"{tenant}|00 {period}: no event tells the limit of entry {change['seq']}"


def _pusd(usd: str | None) -> int | None:
    return None if usd is None else int(Decimal(usd) * 10**12)


def verify_documents(  # noqa: C901 - the steps of the document, in its order
    content: bytes | None, events: list[dict[str, Any]], deleted: set[str], last_at: str
) -> Iterator[str]:
    """Check the states of documents."""
    if content is None:
        yield "documents.jsonl is missing"
        return
    history: dict[str, list[dict[str, Any]]] = {}
    for event in sorted((each for each in events if each.get("place")), key=lambda each: str(each["event_id"])):
        history.setdefault(event["place"], []).append(event)
    lines: dict[str, dict[str, Any]] = {}
    before = ""
    for encoded in content.splitlines():
        row = row_of_document(encoded)
        if row is None or row["place"] <= before:
            yield "a line of documents.jsonl is not in its form or order"
            continue
        before = row["place"]
        lines[before] = row
    for place, row in lines.items():
        if "text" in row and not is_place_of_price(place, row["text"]):
            yield f"{place} is not the place of its price, or has prices that contradict each other"
    is_complete = lines.get("audit/settings/baseline", {}).get("sha256", "") != ""
    for place in sorted(lines.keys() | history.keys()):
        line, own = lines.get(place, {"event_id": "", "sha256": ""}), history.get(place, [])
        newest = own[-1]["event_id"] if own else ""
        stated = own[-1]["after_sha256"] if own else ""
        is_known = own or line["event_id"] or not is_complete
        is_right = (line["sha256"], line["event_id"]) == (stated, newest) or (
            place not in lines and not stated) or (place in lines and not own and not line["event_id"])  # fmt: skip
        if not is_right or not is_known:
            since = month_of(newest) if newest else ""
            named = month_of(line["event_id"])
            if line["event_id"] > newest and is_recent(line["event_id"], last_at):
                yield Open(f"the newest event of {place} may not be chained yet")
            elif not line["sha256"] and any(since <= month for month in deleted):
                continue
            elif not (line["sha256"] and line["event_id"] > newest and named in deleted):
                yield f"{place} is not as its newest event left it"
        for one, other in pairwise(own):
            if other["before_sha256"] != one["after_sha256"] and not any(
                month_of(one["event_id"]) <= month <= month_of(other["event_id"]) for month in deleted
            ):
                yield f"{place} changed between two events"


def is_place_of_price(place: str, text: str) -> bool:
    """Tell whether a price stands where it belongs, and the prices of a text do not contradict each other."""
    try:
        document = json.loads(text)
        bands = document.pop("other_bands", [])
        return all(place_of_price(row) == place for row in (document, *bands)) and bool(Prices([document, *bands]))
    except CANNOT_BE_READ:
        return False


def place_of_price(row: dict[str, Any]) -> str:
    prices = Prices([row])
    ((price_id, known),) = prices.by_id.items()
    *names, at = known["key"]
    parts = "\x1f".join("*" if each is None else f"={each}" for each in (*names, at.isoformat()))
    key = f"k{sha256(parts.encode())[:32]}" if row.get("is_ordered") else price_id
    return f"prices/{quote(row['model'], safe=' ').replace('%', '=')}/{key}"


def row_of_document(line: bytes) -> dict[str, Any] | None:
    """Return a line of documents.jsonl; `None` if it is not in its form."""
    try:
        row = json.loads(line)
        texts = all(isinstance(value, str) for value in row.values())
        is_price = row["place"].startswith("prices/") and row["sha256"]
        names = {"event_id", "place", "sha256"} | ({"text"} if is_price else set())
        if canonical(row) != line or not texts or row.keys() != names or row["place"].count("/") < 2:
            return None
        return None if is_price and sha256(row["text"].encode()) != row["sha256"] else dict(row)
    except (ValueError, KeyError, TypeError, AttributeError):
        return None


def month_of(event_id: str) -> str:
    """Return the month in an event's id; empty if it has none."""
    try:
        return f"{datetime.fromtimestamp((int(event_id, 16) >> 80) / 1000, UTC):%Y-%m}"
    except (ValueError, OverflowError):
        return ""


def is_recent(event_id: str, last_at: str) -> bool:
    if not re.fullmatch(r"[0-9a-f]{32}", event_id):
        return False
    earliest = _moment(last_at) - timedelta(minutes=10) if last_at else datetime(1970, 1, 1, tzinfo=UTC)
    return int(event_id[:12], 16) >= earliest.timestamp() * 1000


def rows_of_prices(content: bytes) -> list[dict[str, Any]]:
    """Return the rows in the texts of prices, with all properties."""
    texts = [
        json.loads(row["text"]) for line in content.splitlines() if (row := row_of_document(line)) and "text" in row
    ]
    bands = [each for text in texts for each in text.pop("other_bands", [])]
    return [plain_price(each) for each in (*texts, *bands)]


def plain_price(row: dict[str, Any]) -> dict[str, Any]:
    return DEFAULTS | row


def compare_prices(archive: bytes, documents: bytes, period: str) -> Iterator[str]:
    """Compare the prices in the head of an archive that can be read with the documents."""
    stated = [plain_price(row) for row in json.loads(_grown(archive).split(b"\n")[0])["prices"]]
    if sorted(map(canonical, stated)) != sorted(map(canonical, rows_of_prices(documents))):
        yield f"the prices of {period} are not those of documents.jsonl"


def main(archive: str, anchors: str, key: str) -> int:
    """Verify files. Returns the exit status."""
    folder, public = Path(anchors), load_pem_public_key(Path(key).read_bytes())
    assert isinstance(public, EllipticCurvePublicKey)

    def read(path: str) -> bytes | None:
        return (folder / path).read_bytes() if (folder / path).exists() else None

    wrong = verify_archive(Path(archive).read_bytes(), read, [public])
    sys.stdout.write("".join(f"{each}\n" for each in wrong))
    return status(wrong)


if __name__ == "__main__":
    sys.exit(main(*sys.argv[1:4]))
