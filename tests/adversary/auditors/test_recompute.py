"""The recomputation that knows nothing of the gateway agrees with books that hold, and finds what does not add up."""

from __future__ import annotations

import ast
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from azure.core.credentials import AzureNamedKeyCredential
from azure.data.tables import TableServiceClient
from azure.storage.blob import BlobServiceClient

from local.azurite_server import ACCOUNT
from shared.domain.audit.hash_chain import HashChain, KeyRing
from shared.domain.stored_fields import Fields
from tests.adversary import recompute
from tests.adversary.auditors.conftest import CLOSED, OPEN, KeptBooks, Tables
from tests.adversary.auditors.test_tampering import TAMPERINGS, change_document, entry, first_price, seal_again
from tests.tools.earlier_chain import EarlierChain
from tests.tools.stack import CHAIN_KEY

ROOT = Path(__file__).parents[3]
COMMAND = [sys.executable, "-m", "tests.adversary.recompute"]
FOUND = {
    "used is less": "used_tokens is 1, computed",
    "reserved is less": "reserved_pusd is 0, computed 225000000",
    "no reservation is open": "open_reservations is 0, computed 1",
    "the excess is another": "excess_tokens is 9",
    "the limit is higher": "limit_tokens is 1000000000, computed 2100",
    "a transfer is added": "moved_tokens is 500, computed 0",
    "an entry has another value": "entry 1 has another hash than SHA-256 gives",
    "the head is another": "head is 000",
    "an entry is removed": "entry 3 stands where 2 belongs",
    "an entry stands beyond the last": "seq is",
    "the balance is deleted": "the lane has no balance",
    "a price is another": f"{OPEN} acme|00: entry 1 costs 110000000 pUSD, its usage and prices give",
    "the watermark is higher": "entries up to 1000000 are rolled up",
}


@pytest.fixture
def account(books: KeptBooks) -> Iterator[recompute.Account]:
    key = books.account.key
    tables = TableServiceClient(books.account.table_endpoint, credential=AzureNamedKeyCredential(ACCOUNT, key))
    blobs = BlobServiceClient(books.account.blob_endpoint, credential={"account_name": ACCOUNT, "account_key": key})
    with tables, blobs:
        yield recompute.Account(tables, blobs)


def test_the_script_imports_nothing_of_the_project() -> None:
    tree = ast.parse(Path(recompute.__file__).read_text())
    modules = [node.module or "" for node in ast.walk(tree) if isinstance(node, ast.ImportFrom)]
    modules += [alias.name for node in ast.walk(tree) if isinstance(node, ast.Import) for alias in node.names]
    assert {name.partition(".")[0] for name in modules} & {"shared", "local", "tests", "bench", "function_app"} == set()


@pytest.mark.parametrize("period", [CLOSED, OPEN])
@pytest.mark.parametrize(
    ("keys", "told"), [({}, "mac by key 0 is not recomputed"), ({"0": CHAIN_KEY.encode()}, "mac by key 0 agrees")]
)
def test_books_that_hold_agree(period: str, keys: dict[str, bytes], told: str, account: recompute.Account) -> None:
    made = recompute.recompute(account, period, keys)
    assert made.differences == []
    assert sum(lane.entries for lane in made.lanes.values()) > 3
    assert {what for lane in made.lanes.values() for what in lane.chain.counts} == {told}


def test_entries_of_earlier_versions_are_recomputed_by_their_key() -> None:
    entry: Fields = {"seq": 1, "user": "ü"}
    EarlierChain(b"key").seal("0" * 64, entry)
    known, unknown = recompute.Chain({"0": b"key"}, "0" * 64), recompute.Chain({}, "0" * 64)
    assert [known.add(entry), unknown.add(entry)] == ["", ""]
    assert [*known.counts, *unknown.counts] == ["hash by key 0 agrees", "hash by key 0 is not recomputed"]
    assert recompute.Chain({"0": b"other"}, "0" * 64).add(entry) == "has another hash than its key gives"


def test_a_chain_that_was_computed_again_shows_by_its_macs(books: KeptBooks, account: recompute.Account) -> None:
    seal_again(books.tables, HashChain(KeyRing(keys={"0": b"guessed"})))
    assert recompute.recompute(account, OPEN).differences == []
    told = recompute.recompute(account, OPEN, {"0": CHAIN_KEY.encode()}).differences
    assert f"{OPEN} acme|00: entry 1 has another mac than its key gives" in told


def test_prices_of_every_context_band_are_known(books: KeptBooks, account: recompute.Account) -> None:
    tables = books.tables
    price = json.loads(tables.row("prices", "gpt-4o", first_price(tables))["document"])
    first = {"usd_per_million": "1.00", "input_tokens_up_to": 1}
    change_document("prices", "gpt-4o", first_price(tables), **first, other_bands=[price])(tables)
    assert recompute.recompute(account, OPEN).differences == []


def test_a_period_without_rows_agrees(account: recompute.Account) -> None:
    assert recompute.recompute(account, "2001-01").lanes == {}


@pytest.mark.parametrize(("name", "told"), FOUND.items())
def test_what_does_not_add_up_is_told(name: str, told: str, books: KeptBooks, account: recompute.Account) -> None:
    TAMPERINGS[name].change(books.tables)
    assert any(told in each for each in recompute.recompute(account, OPEN).differences)


def charge_less(tables: Tables) -> None:
    tables.change(f"ledger{OPEN.replace('-', '')}", "acme|00", entry(1), usage_output=None)


def resolve_twice(tables: Tables) -> None:
    table = f"ledger{OPEN.replace('-', '')}"
    tables.change(table, "acme|00", entry(2), rid=tables.row(table, "acme|00", entry(1))["rid"])


@pytest.mark.parametrize(
    ("change", "told"),
    [(charge_less, "entry 1 has 17 tokens, its usage has 8"), (resolve_twice, "ended 2 times")],
)
def test_what_no_balance_shows_is_told(
    change: Callable[[Tables], None], told: str, books: KeptBooks, account: recompute.Account
) -> None:
    change(books.tables)
    assert any(told in each for each in recompute.recompute(account, OPEN).differences)


def test_a_bill_that_states_something_else_is_told(account: recompute.Account) -> None:
    made = recompute.recompute(account, CLOSED)
    document = account.statements(CLOSED)
    document["tenants"][0]["tokens_used"] += 1
    document["tenants"][1]["total_cost_usd"] = "1.00"
    document["tenants"][2]["tenant_id"] = "stranger"
    made.check_statements(document)
    told = "\n".join(made.differences)
    parts = ["acme: the bill states tokens", "hot: the bill states cost 1.00", "stranger: there are books or a bill"]
    for part in [*parts, "the bills add up to"]:
        assert part in told


@pytest.mark.parametrize(("endpoint", "status"), [("", 0), ("http://127.0.0.1:9/books", 2)])
def test_the_command_ends_with_its_result(endpoint: str, status: int, books: KeptBooks) -> None:
    environment = {**os.environ, **books.settings} | ({"TALLYGATE_TABLE_ENDPOINT": endpoint} if endpoint else {})
    command = [*COMMAND, "--period", CLOSED, "--period", OPEN]
    ended = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False)
    assert ended.returncode == status, ended.stdout + ended.stderr
    assert ended.stdout.count("lanes recomputed") == (0 if status else 2)
    assert ended.stdout.count("mac by key 0 agrees") == (0 if status else 2)
