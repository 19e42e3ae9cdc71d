"""`tallygate verify`: check the books of a billing period against every invariant."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import click

from shared.adapters.ecdsa_keys import KeyUnusable
from shared.application.billing.verify_statements import VerifyStatements
from shared.application.ledger.findings import Finding, NotChecked, findings_of
from shared.application.ledger.verify_ledger import VerifyLedger
from shared.application.ports.anchors import AnchoredHeads
from shared.cli.command import NoAnswer, Period, open_gateway, print_json, progress, run_to_end
from shared.cli.offline import Question, verify_files
from shared.cli.verification import (
    ALWAYS_UNCHECKED,
    Verification,
    as_document,
    print_result,
    status_of,
)
from shared.domain.errors import RowsDamaged
from shared.setting_problems import SettingsInvalid

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)
_ONLINE_UNCHECKED = (
    *ALWAYS_UNCHECKED,
    NotChecked(invariant="I20", reason="this is no evidence package", is_all=True),
)


@click.command()
@click.option("--period", type=Period(), help="The period to check, in the storage of the settings.")
@click.option("--archive", type=_FILE, help="Check a file of `tallygate backup` or `tallygate evidence` instead.")
@click.option(
    "--checkpoints",
    type=_FOLDER,
    help="With --archive a copy of the container `anchors`; with --period a folder of checkpoints that you kept.",
)
@click.option(
    "--public-key",
    "public_keys",
    type=_FILE,
    multiple=True,
    help="A PEM file with a key of the anchors; repeatable.",
)
@click.option(
    "--checkpoint", "kept", type=_FILE, multiple=True, help="A checkpoint that you kept, to be in the log; repeatable."
)
@click.option("--chain-key", type=_FILE, help="A file with a line `VERSION=SECRET` for each chain key that you know.")
@click.option("--sha256-only", is_flag=True, help="Every entry with an HMAC is a violation.")
@click.option("--tenant", metavar="ID", help="Check only this tenant.")
@click.option(
    "--acknowledged",
    type=_FILE,
    help="A file of request ids, separated by spaces or lines. Each must be booked exactly once.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document with every finding.")
def verify(
    period: str | None,
    archive: Path | None,
    checkpoints: Path | None,
    public_keys: tuple[Path, ...],
    kept: tuple[Path, ...],
    chain_key: Path | None,
    tenant: str | None,
    acknowledged: Path | None,
    *,
    sha256_only: bool,
    as_json: bool,
) -> int:
    """Check the books of a billing period against every invariant.

    The invariants are explained in docs/reference/ledger.md. A gateway may go on serving meanwhile. The command also
    lists what it did not check.

    With --archive nothing but files is read. With --public-key neither settings nor a secret are used: give the
    folder of --checkpoints, or an evidence package, which has its own.

    \b
    Examples:
      tallygate verify --period 2026-11
      tallygate verify --period 2026-11 --tenant blue-team --json
      tallygate verify --archive 2026-11.gz --checkpoints anchors --public-key key.pem
      tallygate verify --archive evidence.zip --public-key key.pem --checkpoint kept-in-may
    """
    if (period is None) == (archive is None):
        raise click.UsageError("Give either --period or --archive.")
    if archive is not None and acknowledged is not None:
        raise click.UsageError("--acknowledged needs --period.")
    if archive is None:
        if chain_key or kept or sha256_only:
            raise click.UsageError("--checkpoint, --chain-key and --sha256-only need --archive.")
        told = None if acknowledged is None else _read_request_ids(acknowledged)
        results = [run_to_end(_verify_period(str(period), tenant, told, public_keys, checkpoints))]
    elif (checkpoints or kept) and not public_keys:
        raise click.UsageError("--checkpoints and --checkpoint need --public-key.")
    else:
        keys, ends = _chain_keys(chain_key, needs_none=bool(public_keys))
        question = Question(
            archive=archive,
            checkpoints=checkpoints,
            public_keys=public_keys,
            kept=kept,
            tenant=tenant,
            needs_sha256=sha256_only,
            chain_keys=keys,
            key_ends=ends,
        )
        results = _verify_files(question)
    _print(results, as_json=as_json)
    return status_of(results)


def _verify_files(question: Question) -> list[Verification]:
    with progress("Tenants verified") as report:
        try:
            return run_to_end(verify_files(question, report))
        except KeyUnusable as error:
            raise NoAnswer(str(error)) from error


def _chain_keys(file: Path | None, *, needs_none: bool) -> tuple[Mapping[str, bytes], Mapping[str, str]]:
    """Return chain keys and their ends: of a file, else of the settings, unless none are needed or there are none."""
    if file is not None:
        return _read_chain_keys(file), {}
    if needs_none:
        return {}, {}
    from shared.composition.ledger import readable_chain_keys
    from shared.settings import read_settings

    try:
        settings = read_settings()
    except SettingsInvalid:
        return {}, {}  # each mac that is not checked for that reason is listed
    return run_to_end(readable_chain_keys(settings)), settings.chain_key_ends


def _read_chain_keys(file: Path) -> Mapping[str, bytes]:
    try:
        lines = file.read_text("utf-8").split()
    except (OSError, UnicodeDecodeError) as error:
        raise NoAnswer(f"{file} cannot be read as text.") from error
    pairs = [line.partition("=") for line in lines]
    if not all(separator and version and secret for version, separator, secret in pairs):
        raise NoAnswer(f"{file} has a line that is not VERSION=SECRET.")
    return {version: secret.encode() for version, _, secret in pairs}


def _print(results: Sequence[Verification], *, as_json: bool) -> None:
    if as_json:
        documents = [as_document(each) for each in results]
        print_json(documents[0] if len(documents) == 1 else {"periods": documents})
        return
    for result in results:
        print_result(result)


def _read_request_ids(file: Path) -> set[str]:
    try:
        return set(file.read_text("utf-8").split())
    except (OSError, UnicodeDecodeError) as error:
        raise NoAnswer(f"{file} cannot be read as text.") from error


async def _verify_period(
    period: str,
    tenant: str | None,
    acknowledged: set[str] | None,
    public_keys: Sequence[Path],
    checkpoints: Path | None,
) -> Verification:
    from shared.cli.anchors import check_anchors  # loads what reaches storage, which files do not need
    from shared.cli.audit import check_audit

    gateway = await open_gateway()
    try:
        # Anchors first: what is anchored meanwhile is newer than the entries that are read.
        anchors = await check_anchors(gateway, period, tenant, public_keys, checkpoints)
        tenants, findings = await _verify_lanes(gateway.ledger.verify, period, tenant, anchors.anchored)
        findings += anchors.findings
        documents = await gateway.ledger.verify_tenants(period, tenant)
        findings += documents.findings
        not_checked = [*anchors.not_checked, *_ONLINE_UNCHECKED, *_unproven(gateway.ledger.verify)]
        not_checked += documents.not_checked
        audited, unaudited = await check_audit(gateway, period, tenant)
        limits = await gateway.ledger.verify_limits(gateway.ledger.verify.booked_limits, period, tenant)
        findings += [*audited, *limits.findings]
        not_checked += [*unaudited, *limits.not_checked()]
        findings += findings_of(await gateway.ledger.price_records.faults(), "I10", "")
        findings += await gateway.ledger.verify_promises(period, acknowledged or (), tenant)
        if acknowledged is None:
            not_checked.append(NotChecked(invariant="I13", reason="no file is given with --acknowledged", is_all=True))
        if tenant is not None:
            not_checked.append(NotChecked(invariant="I12", reason="only one tenant is checked", is_all=True))
        else:
            await _verify_statements(gateway.billing.verify_statements, period, findings, not_checked)
    finally:
        await gateway.aclose()
    result = _verification(gateway.ledger.verify, period, tenants, findings, not_checked)
    return replace(result, notes=[*anchors.notes, *limits.notes])


async def _verify_statements(
    verify_statements: VerifyStatements, period: str, findings: list[Finding], not_checked: list[NotChecked]
) -> None:
    try:
        if await verify_statements.is_exported(period):
            findings += await verify_statements(period)
            return
        reason = "the period has no manifest"
    except RowsDamaged as error:  # it is a finding of its own
        reason = str(error)
    not_checked.append(NotChecked(invariant="I12", reason=reason, is_all=True))


def _verification(
    verify_ledger: VerifyLedger, period: str, tenants: int, findings: list[Finding], not_checked: list[NotChecked]
) -> Verification:
    chained = verify_ledger.chained.rows()
    return Verification(period=period, tenants=tenants, chained=chained, findings=findings, not_checked=not_checked)


def _unproven(verify_ledger: VerifyLedger) -> Iterator[NotChecked]:
    yield from verify_ledger.chained.unproven()
    yield from verify_ledger.not_checked()


async def _verify_lanes(
    verify_ledger: VerifyLedger, period: str, tenant: str | None, anchored: AnchoredHeads | None = None
) -> tuple[int, list[Finding]]:
    total, done, findings = await verify_ledger.count_tenants(period, tenant), 0, list[Finding]()
    with progress("Tenants verified") as report:
        async for name, found in verify_ledger(period, tenant, anchored):
            done += bool(name)
            findings += found
            report(done, total)
    return done, findings
