"""The files of a closed month are checked against the books and in themselves."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from typing import Any

import pytest

from shared.adapters.documents.pricing import DocumentPrices
from shared.adapters.in_memory.documents import InMemoryDocuments
from shared.adapters.in_memory.reports import InMemoryReports
from shared.adapters.on_disk.table_store import DiskSet
from shared.adapters.statements.json_manifest import JsonManifest
from shared.adapters.statements.json_statements import JsonStatements
from shared.adapters.tables.store import Merge
from shared.application.billing.verify_statements import VerifyStatements
from tests.tools.ledgers import PriceRows, account, charge, reservation
from tests.unit.ledger.test_periods import CLOSING_TIME, World


async def exported() -> World:
    world = World()
    for tenant in ("acme", "bolt"):
        await world.register(tenant)
        hold = await world.ledger.reserve(account(tenant), reservation(tenant))
        await world.ledger.settle(hold.reservation, charge())
    assert await found(world) == []
    world.clock.moment = CLOSING_TIME
    await world.export()
    assert await found(world) == []
    return world


async def found(world: World, reports: InMemoryReports | None = None) -> list[str]:
    verify = VerifyStatements(world.ledger, PriceRows(), reports or world.reports, JsonStatements(), JsonManifest())
    return [each.message for each in await verify("2026-11")]


def _manifest(change: Callable[[Any], object]) -> Callable[[dict[str, bytes]], None]:
    def spoil(files: dict[str, bytes]) -> None:
        manifest = json.loads(files["manifest.json"])
        change(manifest)
        files["manifest.json"] = (json.dumps(manifest, indent=2) + "\n").encode()

    return spoil


def _statements(change: Callable[[Any], object]) -> Callable[[dict[str, bytes]], None]:
    """Change the statements, and write a manifest that fits them."""

    def spoil(files: dict[str, bytes]) -> None:
        document, manifest = json.loads(files["statements.json"]), json.loads(files["manifest.json"])
        change(document)
        content = files["statements.json"] = json.dumps(document).encode()
        manifest["files"][0] |= {"bytes": len(content), "sha256": hashlib.sha256(content).hexdigest()}
        files["manifest.json"] = (json.dumps(manifest, indent=2) + "\n").encode()

    return spoil


def _everywhere(old: str, new: str) -> Callable[[dict[str, bytes]], None]:
    """Change the amount of each bill, of one of its lines, and of all totals, so that they agree."""

    def change(document: Any) -> None:
        for bill in document["tenants"]:
            assert bill["total_cost_usd"] == old
            bill["total_cost_usd"] = bill["lines"][0]["cost_usd"] = new
        total = f"0.0{len(document['tenants'])}"
        document["total_cost_usd"] = document["cost_centers"][0]["cost_usd"] = total

    def spoil(files: dict[str, bytes]) -> None:
        _statements(change)(files)
        _manifest(lambda manifest: manifest.update(total_cost_usd="0.02"))(files)

    return spoil


@pytest.mark.parametrize(
    ("spoil", "messages"),
    [
        (lambda files: files.pop("statements.csv"), ["statements.csv is missing"]),
        (
            lambda files: files.update({"statements.csv": files["statements.csv"] + b" "}),
            ["statements.csv is not what the manifest names"],
        ),
        (lambda files: files.update({"manifest.json": b"{"}), ["the files of 2026-11 cannot be read"]),
        (
            lambda files: files.update({"manifest.json": b'{"x":' + b"[" * 10**6}),
            ["the files of 2026-11 cannot be read"],
        ),
        (_manifest(lambda manifest: manifest.pop("files")), ["the files of 2026-11 cannot be read"]),
        (_manifest(lambda manifest: manifest["files"].pop(0)), ["the manifest does not name statements.json"]),
        (_manifest(lambda manifest: manifest.update(total_cost_usd="ten")), ["the files of 2026-11 cannot be read"]),
        (_manifest(lambda manifest: manifest.update(total_tokens=1)), ["total_tokens is 1, its parts add up to 34"]),
        (lambda files: files.pop("statements.json"), ["statements.json is missing"]),
        (
            lambda files: files.update({"statements.json": b"\xff"}),
            ["statements.json is not what the manifest names", "statements.json of 2026-11 cannot be read"],
        ),
        (_statements(lambda document: document.pop("tenants")), ["statements.json of 2026-11 cannot be read"]),
        (
            _statements(lambda document: document["tenants"][0].update(total_cost_usd="0.001")),
            ["statements.json of 2026-11 cannot be read: '0.001' is not a whole number of cents"],
        ),
        (
            _statements(lambda document: document["tenants"][0].update(exact_cost_usd="1E+9")),
            ["statements.json of 2026-11 cannot be read: '1E+9' is not an amount in USD"],
        ),
        (
            _statements(lambda document: document["tenants"][0].update(tokens_used=1)),
            ["total_tokens is 34, its parts add up to 18", "acme: tokens_used is 1 in the bill and 17 in the books"],
        ),
        (
            _statements(lambda document: document["tenants"][1]["lines"][0].update(cost_usd="0.07")),
            [
                "cost center CC-1 pays 0.00, its lines add up to 0.07",
                "bolt: the bill's line gpt-4o gpt-4o input is not rounded: 0.07 of ",
                "total_cost_usd of bolt is 0.00, its parts add up to 0.07",
            ],
        ),
        (
            _statements(lambda document: document["tenants"][1]["lines"][0].update(exact_cost_usd="0.07")),
            [
                "bolt: the bill's line gpt-4o gpt-4o input is not rounded: 0.00 of 0.07",
                "exact_cost_usd of bolt is 0.00011, its parts add up to 0.07009",
                "bolt: the bill's line gpt-4o gpt-4o input is not what the entries sum to",
            ],
        ),
        (
            _statements(lambda document: document["cost_centers"][0].update(cost_usd="3.00")),
            ["cost center CC-1 pays 3.00, its lines add up to 0.00"],
        ),
        (
            _statements(lambda document: document["tenants"][0]["chain_heads"].update({"00": "f"})),
            ["acme: chain_heads is {'00': 'f'} in the bill"],
        ),
        (
            _statements(lambda document: document["tenants"][0].update(tenant_id="ghost")),
            ["acme has books only", "ghost has a bill only"],
        ),
        (
            _statements(lambda document: document["tenants"][0]["lines"][0].update(deployment="another")),
            [
                "acme: the bill's line another gpt-4o input is not what the entries sum to",
                "acme: the bill's line gpt-4o gpt-4o input is not what the entries sum to",
            ],
        ),
        (
            _statements(lambda document: document["tenants"][0].update(requests=9, failed_requests=8)),
            ["acme: requests is (9, 8) in the bill and (1, 0) in the books"],
        ),
        (
            _statements(lambda document: document["tenants"][0].update(quota_tokens=5)),
            ["acme: limit is (5, None) in the bill and (1000, None) in the books"],
        ),
        (
            _everywhere("0.00", "0.01"),  # the amount of the smallest bill, to its sums and all their sums
            [
                "acme: total_cost_usd is 0.01 in the bill and 0.00 in the books",
                "bolt: total_cost_usd is 0.01 in the bill and 0.00 in the books",
            ],
        ),
        (
            _manifest(lambda manifest: manifest["chain_heads"].update({"acme|00": "f"})),
            ["the chain heads of the manifest are not those of the books"],
        ),
    ],
)
async def test_each_change_of_a_file_is_named(spoil: Callable[[dict[str, bytes]], None], messages: list[str]) -> None:
    world = await exported()
    names = ("manifest.json", "statements.csv", "statements.json")
    files = {name: await world.reports.read(f"2026-11/{name}") or b"" for name in names}
    spoil(files)
    changed = InMemoryReports()
    for name, content in files.items():
        await changed.write_once(f"2026-11/{name}", content)
    told = await found(world, changed)
    assert len(told) == len(messages)
    assert all(one.startswith(message) for one, message in zip(told, messages, strict=True)), told


async def test_a_bill_of_a_lane_that_was_opened_again_is_found() -> None:
    world = await exported()
    row = await world.rows.get("ledger202611", "acme|00", "B")
    assert row is not None
    await world.rows.submit("ledger202611", "acme|00", [Merge("B", {"state": "OPEN"}, row.etag)], "tamper")
    assert await found(world) == ["acme has a bill and a lane that is not closed"]


async def test_a_bill_whose_prices_are_gone_cannot_be_checked() -> None:
    world = await exported()
    no_prices = DocumentPrices(InMemoryDocuments())
    verify = VerifyStatements(world.ledger, no_prices, world.reports, JsonStatements(), JsonManifest())
    told = [each.message for each in await verify("2026-11")]
    assert [message.partition(": Price")[0] for message in told] == [
        f"{name}: the lines cannot be checked" for name in ("acme", "bolt")
    ]


def test_a_set_on_disk_behaves_as_a_set() -> None:
    members = DiskSet()
    for name in ("a", "b", "a"):
        members.add(name)
    assert ["a" in members, "b" in members, "c" in members] == [True, True, False]
