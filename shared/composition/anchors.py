"""Wire the anchors of all hash chains."""

from __future__ import annotations

from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from shared.adapters.key_vault.signer import VaultSigner
from shared.adapters.on_disk.signer import KeyFileSigner
from shared.adapters.webhooks.checkpoints import CheckpointWebhook
from shared.application.audit.anchor_heads import AnchorHeads
from shared.application.audit.anchor_log import AnchorLog
from shared.application.audit.audit_heads import AuditHeads
from shared.application.audit.copy_anchors import CopyAnchors
from shared.application.audit.ledger_heads import LedgerHeads
from shared.application.ports.anchors import AnchorStore, CheckpointSigner, HeadSource, Witness
from shared.composition.adapters import Adapters
from shared.settings import Settings


@dataclass(frozen=True, slots=True, kw_only=True)
class Anchors:
    """The log of heads, and the use case that extends it."""

    origin: str
    store: AnchorStore
    signer: CheckpointSigner | None
    """`None` if the settings name no key."""
    anchor_heads: AnchorHeads | None
    """`None` without a key: nothing is anchored then."""


def wire_anchors(adapters: Adapters) -> Anchors:
    """Make the use case of anchors."""
    settings, store, origin = adapters.settings, adapters.anchors, anchor_origin(adapters.settings)
    signer = _signer(adapters)
    anchor_heads = None
    if signer is not None:
        log = AnchorLog(store, signer, adapters.cursors, adapters.clock, origin, settings.timer_slice_seconds)
        sources: list[HeadSource] = [LedgerHeads(adapters.ledger), AuditHeads(adapters.audit_chain)]
        anchor_heads = AnchorHeads(log, sources, _witnesses(adapters))
    return Anchors(origin=origin, store=store, signer=signer, anchor_heads=anchor_heads)


def anchor_origin(settings: Settings) -> str:
    """Return the name of the log: that of the settings, else that of the storage account."""
    if settings.audit_anchor_origin:
        return settings.audit_anchor_origin
    host = urlsplit(settings.tallygate_blob_endpoint).hostname or "memory"
    return f"tallygate/{settings.tallygate_storage_account_name or host.partition('.')[0]}"


def _signer(adapters: Adapters) -> CheckpointSigner | None:
    settings, tokens = adapters.settings, adapters.tokens
    if name := settings.audit_signing_key_name:
        signer = VaultSigner(settings.azure_key_vault_url, lambda: tokens.credential, name, adapters.clock)
        adapters.resources.push_async_callback(signer.aclose)
        return signer
    return KeyFileSigner(Path(settings.audit_signing_key_file)) if settings.audit_signing_key_file else None


def _witnesses(adapters: Adapters) -> list[Witness]:
    found: list[Witness] = []
    if adapters.anchor_witness is not None:
        found.append(CopyAnchors(adapters.anchor_witness, adapters.cursors))
    if name := adapters.secret_names.witness:
        found.append(CheckpointWebhook(partial(adapters.secrets.get, name)))
    return found
