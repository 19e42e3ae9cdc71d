"""The frozen files of tests/corpus/upgrade, and an Azurite that serves them. Nothing here imports the product."""

from __future__ import annotations

import base64
import gzip
import hashlib
import hmac
import json
import tarfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

from azure.core.credentials import AzureNamedKeyCredential
from azure.data.tables import EntityProperty, TableServiceClient
from azure.storage.blob import BlobServiceClient, ContainerClient

from local.azurite_server import ACCOUNT, AzuritePorts, start_azurite
from tests.tools.stack import AzuriteAccount, await_port, free_port

FROZEN: Final = Path(__file__).parents[1] / "corpus" / "upgrade"
FACTS: Final[dict[str, Any]] = json.loads((FROZEN / "facts.json").read_text(encoding="utf-8"))
ANSWERS: Final[list[dict[str, Any]]] = json.loads((FROZEN / "answers.json").read_text(encoding="utf-8"))
CLOSED: Final[str] = FACTS["periods"]["closed"]
OPEN: Final[str] = FACTS["periods"]["open"]
ACCOUNT_KEY: Final = base64.b64encode(FACTS["storage_account"]["key_text"].encode()).decode()

Fields: TypeAlias = dict[str, Any]
Partitions: TypeAlias = dict[tuple[str, str], dict[str, Fields]]
"""Rows by their keys, by table and partition."""


@dataclass(frozen=True, slots=True)
class Storage:
    """A running storage account."""

    account: AzuriteAccount

    def rows(self, prefix: str = "") -> Partitions:
        """Return every stored row of the tables whose names begin with `prefix`."""
        found: Partitions = {}
        credential = AzureNamedKeyCredential(ACCOUNT, self.account.key)
        with TableServiceClient(self.account.table_endpoint, credential=credential) as service:
            for table in [each.name for each in service.list_tables()]:
                if table.startswith(prefix):
                    with service.get_table_client(table) as client:
                        for entity in client.list_entities():
                            fields: Fields = {name: _plain(value) for name, value in entity.items()}
                            partition, key = fields.pop("PartitionKey"), fields.pop("RowKey")
                            found.setdefault((table, partition), {})[key] = fields
        return found

    def documents(self, *tables: str) -> dict[tuple[str, str, str], Fields]:
        """Return every document of these tables, by table, partition and key."""
        return {
            (table, partition, key): json.loads(fields["document"])
            for name in tables
            for (table, partition), found in self.rows(name).items()
            for key, fields in found.items()
        }

    def files(self) -> dict[str, dict[str, object]]:
        """Return size and SHA-256 of each file in the container of the statements."""
        with self._container() as container:
            contents = {name: container.download_blob(name).readall() for name in container.list_blob_names()}
        return {
            name: {"sha256": hashlib.sha256(content).hexdigest(), "bytes": len(content)}
            for name, content in contents.items()
        }

    def remove_files(self) -> None:
        """Delete every statement."""
        with self._container() as container:
            for name in list(container.list_blob_names()):
                container.delete_blob(name)

    def _container(self) -> ContainerClient:
        credential = {"account_name": ACCOUNT, "account_key": self.account.key}
        return BlobServiceClient(self.account.blob_endpoint, credential=credential).get_container_client("chargeback")


@contextmanager
def running_storage(folder: Path, *, is_empty: bool = False) -> Iterator[Storage]:
    """Run an Azurite on a copy of the frozen data, or on no data, with the frozen account key."""
    if not is_empty:
        with tarfile.open(FROZEN / "azurite.tar.gz") as packed:
            packed.extractall(folder, filter="data")
    data, ports = folder / "azurite", AzuritePorts(free_port(), free_port(), free_port())
    data.mkdir(exist_ok=True)
    process = start_azurite(ports, ACCOUNT_KEY, data, folder / "azurite.log")
    try:
        await_port(ports.table, process)
        await_port(ports.blob, process)
        table, blob = (f"http://127.0.0.1:{port}/{ACCOUNT}" for port in (ports.table, ports.blob))
        yield Storage(AzuriteAccount(table, blob, ACCOUNT_KEY))
    finally:
        process.terminate()
        process.wait()


def archived_rows(file: Path) -> Partitions:
    """Return the rows of an archive, without its head and tail."""
    found: Partitions = {}
    for line in gzip.decompress(file.read_bytes()).splitlines()[1:-1]:
        table, partition, key, fields = json.loads(line)
        found.setdefault((table, partition), {})[key] = fields
    return found


def canonical(fields: Mapping[str, Any]) -> str:
    """Return the text of an entry that its hash covers: JSON with sorted names and without spaces."""
    return json.dumps(fields, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def broken_chains(rows: Partitions) -> list[str]:
    """List gaps in the numbers and breaks in the hash chains of the entries (docs/reference/ledger.md)."""
    found = []
    for (table, partition), lane in rows.items():
        if table.startswith("ledger"):
            period = f"{table[6:10]}-{table[10:]}"
            head = hashlib.sha256(f"{period}/{partition}".encode()).hexdigest()
            entries = [lane[key] for key in sorted(lane) if key.startswith("E|")]
            for number, entry in enumerate(entries, 1):
                sealed, head = _sealed(head, entry), entry["hash"]
                if (entry["seq"], head, entry.get("mac")) != (number, *sealed):
                    found.append(f"{table} {partition}: entry {number} does not continue the chain")
            if (lane["B"]["seq"], lane["B"]["head"]) != (len(entries), head):
                found.append(f"{table} {partition}: the chain does not end at the balance's head")
    return found


def _sealed(head: str, entry: Fields) -> tuple[str, str | None]:
    """Return what hash and mac of an entry must be, by the method that it states."""
    key = FACTS["chain_key"].encode()
    covered = {name: value for name, value in entry.items() if name not in ("hash", "mac")}
    content = (head + canonical(covered)).encode()
    if "method" not in entry:
        return hmac.digest(key, content, "sha256").hex(), None
    hash_ = hashlib.sha256(content).hexdigest()
    return hash_, hmac.digest(key, hash_.encode(), "sha256").hex()


def _plain(value: Any) -> Any:
    """Return a property's value. The client wraps 64-bit numbers in their type."""
    return value.value if isinstance(value, EntityProperty) else value
