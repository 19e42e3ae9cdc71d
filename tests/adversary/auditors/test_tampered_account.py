"""A month of real gateways over Azurite is tampered with in storage. An auditor's process finds each change.

The month is served over HTTP with the official SDK, and finished by timers. The storage SDKs tamper with it.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import random
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any, Final

import pytest
from azure.data.tables import EdmType, EntityProperty

from shared.domain.audit.hash_chain import canonical
from tests.adversary.auditors.conftest import Tables
from tests.tools.stack import CHAIN_KEY
from tests.tools.tampered_account import PERIOD, RealMonth, real_month

LEDGER, ROLLUP = f"ledger{PERIOD.replace('-', '')}", f"rollup{PERIOD.replace('-', '')}"
ACME, BOLT = "acme|00", "bolt|00"
RECORDS: Final = ("tenants", "credentials", "backends", "prices")
WITHOUT_PROOF: Final = ("PartitionKey", "RowKey", "mac", "version")
"""A mac proves nothing without the chain key. The version of the audit log's head is not in the package."""


@pytest.fixture(scope="module")
def month(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealMonth]:
    with real_month(tmp_path_factory.mktemp("real")) as made:
        yield made


@dataclass(slots=True)
class Workshop:
    """The storage of the month, to be tampered with. Afterwards it is as before."""

    month: RealMonth
    tables: Tables
    blobs: dict[tuple[str, str], bytes] = field(default_factory=dict)

    def overwrite(self, container: str, name: str, change: Callable[[bytes], bytes]) -> None:
        client = self.month.blobs(container).get_blob_client(name)
        content = self.blobs.setdefault((container, name), client.download_blob().readall())
        client.upload_blob(change(content), overwrite=True)

    def names(self, container: str) -> list[str]:
        return [blob.name for blob in self.month.blobs(container).list_blobs()]

    def findings(self) -> list[dict[str, Any]]:
        """Export the evidence and verify it, each in a process of its own. The auditor has a public key alone."""
        file = self.month.folder / "evidence.zip"
        written = self.month.run("evidence", "--period", PERIOD, "--file", str(file))
        assert written.returncode == 0, written.stderr
        key = str(self.month.public_key)
        told = self.month.run("verify", "--archive", str(file), "--public-key", key, "--json", is_operator=False)
        found: list[dict[str, Any]] = json.loads(told.stdout)["findings"]
        assert told.returncode == (1 if found else 0), told.stdout
        return found


@pytest.fixture
def workshop(month: RealMonth) -> Iterator[Workshop]:
    tables = Tables(month.account)
    before, made = tables.every_row(), Workshop(month, tables)
    yield made
    tables.restore(before)
    for (container, name), content in made.blobs.items():
        month.blobs(container).get_blob_client(name).upload_blob(content, overwrite=True)


def first(tables: Tables, table: str, prefix: str = "", partition: str = "") -> tuple[str, str]:
    """Return the first row of a table with these prefixes."""
    rows = tables.every_row()
    return min(
        key[1:] for key in rows if key[0] == table and key[1].startswith(partition) and key[2].startswith(prefix)
    )


def edit_document(tables: Tables, table: str) -> tuple[str, str]:
    partition, key = first(tables, table)
    text = tables.row(table, partition, key)["document"]
    tables.change(table, partition, key, document=text.replace("{", "{ ", 1))
    return partition, key


def test_a_month_of_real_gateways_is_proved(workshop: Workshop) -> None:
    assert workshop.findings() == []


def test_a_change_of_each_table_and_container_is_found(workshop: Workshop) -> None:
    tables = workshop.tables
    places = {(table, *edit_document(tables, table)) for table in RECORDS}
    tables.change(LEDGER, ACME, "E|0000000000000002", user="somebody else")
    tables.change(LEDGER, BOLT, "B", requests_arrival=EntityProperty(5, EdmType.INT64))
    tables.change(ROLLUP, ACME, first(tables, ROLLUP, "R|", ACME)[1], requests=1)
    tables.delete("registry", PERIOD, BOLT)
    tables.change("audit", "settings", "weak", document="{}")
    log, entry = first(tables, "auditlog", "E|")
    event = tables.row("auditlog", log, entry)["event"]
    tables.change("auditlog", log, entry, event=event.replace("admin-key", "nobody"))
    workshop.overwrite("chargeback", f"{PERIOD}/statements.csv", lambda content: content.replace(b"acme", b"acne"))
    places |= {
        (LEDGER, ACME, "E|0000000000000002"),
        (LEDGER, BOLT, "B"),
        (ROLLUP, ACME, "W"),
        (LEDGER, BOLT, ""),  # a lane that the registry does not name
        ("audit", "settings", "weak"),
        ("auditlog", log, entry),
    }
    found = workshop.findings()
    assert places - {(each["table"], each["partition"], each["row"]) for each in found} == set()
    assert [each for each in found if each["invariant"] == "I12" and "statements.csv" in each["message"]]
    name = next(name for name in workshop.names("anchors") if name.startswith("leaf/"))
    workshop.overwrite("anchors", name, lambda content: content.replace(b'"at":"2', b'"at":"3'))
    assert any(each["table"] == f"anchors {name}" for each in workshop.findings())


@pytest.mark.parametrize("seed", range(2))
def test_random_changes_are_found(seed: int, workshop: Workshop) -> None:
    """A property of a row is changed in each table, at random."""
    chance, tables = random.Random(seed), workshop.tables
    before, places = tables.every_row(), set[tuple[str, str]]()
    for table in (*RECORDS, LEDGER, ROLLUP, "registry", "auditlog"):
        rows = sorted(key for key in before if key[0] == table and not key[2].startswith(("U|", "~")))
        place = chance.choice(rows)
        values = {name: value for name, value in before[place].items() if name not in WITHOUT_PROOF}
        name = chance.choice(sorted(values) or ["note"])
        tables.change(*place, **{name: _other(values.get(name, ""))})
        places.add((table.replace("rollup", "ledger"), place[1]))  # sums are not compared with a lane that is damaged
    found = {(each["table"].replace("rollup", "ledger"), each["partition"]) for each in workshop.findings()}
    assert places - found == set()


def _other(value: Any) -> Any:
    if isinstance(value, bool):
        return not value
    if isinstance(value, EntityProperty):
        return EntityProperty(int(value.value) + 1, EdmType.INT64)
    return value + 1 if isinstance(value, int) else f"{value}x"


def plain(value: Any) -> Any:
    return value.value if isinstance(value, EntityProperty) else value


def rechain(tables: Tables, table: str, partition: str, genesis: str) -> None:
    """Chain all entries again, with macs of the chain key, and move the head."""
    head, key = hashlib.sha256(genesis.encode()).hexdigest(), CHAIN_KEY.encode()
    rows = tables.rows(table, partition)
    for name in sorted(each for each in rows if each.startswith("E|")):
        entity = rows[name]
        fields = {each: plain(value) for each, value in entity.items() if each not in ("PartitionKey", "RowKey")}
        covered = {each: value for each, value in fields.items() if each not in ("hash", "mac")}
        head = hashlib.sha256(head.encode() + canonical(covered)).hexdigest()
        mac = hmac.digest(key, head.encode(), "sha256").hex()
        tables.change(table, partition, name, hash=head, mac=mac)
    tables.change(table, partition, "B", head=head)


def test_whoever_has_the_chain_key_and_chains_everything_again_is_found(workshop: Workshop) -> None:
    """The attacker rewrites a bill, and the audit log so that it tells another story."""
    tables = workshop.tables
    tables.change(LEDGER, ACME, "E|0000000000000002", user="somebody else")
    rechain(tables, LEDGER, ACME, f"{PERIOD}/{ACME}")
    log, entry = first(tables, "auditlog", "E|")
    event = tables.row("auditlog", log, entry)["event"]
    tables.change("auditlog", log, entry, event=event.replace("admin-key", "nobody"))
    rechain(tables, "auditlog", log, f"{log}/audit")
    found = [(each["table"], each["partition"]) for each in workshop.findings() if "leaf" in each["message"]]
    assert {(LEDGER, ACME), ("auditlog", log)} <= {*found}
