"""The parts of `tallygate verify` about anchors, and `tallygate public-key`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from shared.adapters import ecdsa_keys
from shared.adapters.on_disk.anchored_heads import DiskHeads
from shared.adapters.tables.audit_chain import AUDIT_LOG_TABLE
from shared.application.audit.verify_anchor_log import AnchorReport, VerifyAnchorLog
from shared.application.audit.verify_anchored_events import VerifyAnchoredEvents
from shared.application.audit.verify_anchors import LONGEST_GAP, moment_of
from shared.application.ledger.findings import Finding, NotChecked
from shared.cli.command import NoAnswer, open_gateway, progress, run_to_end
from shared.cli.offline import read_public_keys
from shared.domain.audit.anchor_files import CONTAINER
from shared.domain.audit.signed_note import PublicKey
from shared.domain.identifiers import BillingPeriod
from shared.domain.values import record

if TYPE_CHECKING:
    from shared.composition.gateway import Gateway


@record
class AnchorCheck:
    """The result about anchors, in the words of a verification."""

    anchored: DiskHeads
    """The anchored heads, which the entries are compared with."""
    findings: Sequence[Finding]
    not_checked: Sequence[NotChecked]
    notes: Sequence[str]


@click.command("public-key")
def public_key() -> int:
    """Print the public keys that verify this gateway's anchors, the newest first.

    An auditor keeps them. `tallygate verify --public-key FILE` trusts no others.

    \b
    Example:
      tallygate public-key > gateway-keys.pem
    """
    for key in run_to_end(_public_keys()):
        click.echo(ecdsa_keys.pem_of(key), nl=False)
    return 0


def _trusted_keys(files: Sequence[Path]) -> Sequence[PublicKey]:
    """Read the keys that an auditor trusts."""
    try:
        return read_public_keys(files)
    except ecdsa_keys.KeyUnusable as error:
        raise NoAnswer(str(error)) from error


def _kept(folder: Path | None) -> Sequence[bytes]:
    return [path.read_bytes() for path in sorted(folder.iterdir()) if path.is_file()] if folder else ()


async def check_anchors(
    gateway: Gateway, period: str, tenant: str | None, public_keys: Sequence[Path], checkpoints: Path | None
) -> AnchorCheck:
    """Verify the log of heads.

    `public_keys` are files of the trusted keys, by default those of the gateway itself. `checkpoints` is a folder of
    checkpoints that were kept elsewhere. Raises `OSError`.
    """
    anchors, anchored = gateway.anchors, DiskHeads()
    if public_keys:
        trusted = _trusted_keys(public_keys)
    elif anchors.signer is not None:
        trusted = await anchors.signer.public_keys()
    else:
        reason = "anchors: no key is named by AUDIT_SIGNING_KEY_NAME or --public-key"
        return AnchorCheck(anchored=anchored, findings=(), not_checked=[_unchecked(reason)], notes=())
    # Lanes open in the month before, and close within days after their month.
    since = BillingPeriod.parse(period).previous().start.date().isoformat()
    with progress("Anchors verified") as report:
        result = await VerifyAnchorLog(anchors.store)(
            trusted, anchored, report, origin=anchors.origin, kept=_kept(checkpoints), since=since
        )
    findings = [_finding(each.path, each.message, each.chain, period) for each in result.findings]
    shown = [each for each in findings if each is not None and tenant in (None, each.tenant_id, "")]
    events = await VerifyAnchoredEvents(gateway.audit.chain)(period, anchored.of(f"audit/{period}"))
    shown += [_at(AUDIT_LOG_TABLE, each.path, each.message) for each in events]
    return AnchorCheck(
        anchored=anchored,
        findings=shown,
        not_checked=[_unchecked(_since_last(result))],
        notes=[*result.notes, *_late(gateway, result)],
    )


async def _public_keys() -> Sequence[PublicKey]:
    gateway = await open_gateway()
    try:
        if gateway.anchors.signer is None:
            raise NoAnswer("No key signs anchors: set AUDIT_SIGNING_KEY_NAME or AUDIT_SIGNING_KEY_FILE.")
        return await gateway.anchors.signer.public_keys()
    finally:
        await gateway.aclose()


def _finding(path: str, message: str, chain: str, period: str) -> Finding | None:
    """Return a finding about the whole log or a chain of the period; `None` if it is about another period."""
    kind, _, rest = chain.partition("/")
    of_period, _, name = rest.partition("/")
    if chain and of_period != period:
        return None
    tenant = name.partition("|")[0] if kind == "ledger" else ""
    return _at(CONTAINER, path, f"{message} ({chain})" if chain else message, tenant)


def _at(table: str, row: str, message: str, tenant: str = "") -> Finding:
    return Finding(invariant="I2", tenant_id=tenant, message=message, table=table, row=row)


def _unchecked(reason: str) -> NotChecked:
    return NotChecked(invariant="I2", reason=reason)


def _since_last(result: AnchorReport) -> str:
    if not result.last_at:
        return "anchors: none has been written yet"
    return f"a rollback of what happened after the last anchor, {result.last_at}"


def _late(gateway: Gateway, result: AnchorReport) -> list[str]:
    """Return a note if the last anchor is long ago."""
    last, now = moment_of(result.last_at), gateway.clock.now()
    if last is None or now - last <= LONGEST_GAP:
        return []
    return [f"no anchor for {int((now - last).total_seconds() // 60)} minutes: the last leaf is of {result.last_at}"]
