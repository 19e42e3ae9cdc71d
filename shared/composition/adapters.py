"""Make the adapters of one process, which all use cases share, from the settings."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp

from shared.adapters.azure_openai.backend_keys import BackendKeys
from shared.adapters.azure_openai.tokenizer import SplintrTokenizer
from shared.adapters.azure_openai.upstream import AiohttpUpstream, UpstreamTimeouts
from shared.adapters.canonical_json import encode_canonical
from shared.adapters.clock import StorageClock
from shared.adapters.documents.alert_sinks import DocumentSinks
from shared.adapters.documents.alerts import DocumentAlerts
from shared.adapters.documents.audit import DocumentOutbox
from shared.adapters.documents.audit_periods import (
    DocumentAuditPeriods,
    DocumentBaseline,
    DocumentProtections,
    DocumentUnchainedEvents,
)
from shared.adapters.documents.audited_places import DocumentPlaces
from shared.adapters.documents.deliveries import DocumentDeliveries
from shared.adapters.documents.grants import DocumentGrantRequests
from shared.adapters.documents.jobs import DocumentCursors
from shared.adapters.documents.pricing import DocumentPrices, InspectedPrices
from shared.adapters.documents.principals import DocumentPrincipals
from shared.adapters.documents.pseudonyms import DocumentPseudonyms
from shared.adapters.documents.routing import DocumentCatalog, DocumentHints
from shared.adapters.documents.store import Documents
from shared.adapters.documents.tenancy import DocumentKeys, DocumentKeyUses, DocumentTenants
from shared.adapters.documents.waiting_events import DocumentWaitingEvents
from shared.adapters.identity.access_tokens import EntraAccessTokens
from shared.adapters.identity.credentials import CachedTokens, developer_identity, federated_identity, managed_identity
from shared.adapters.tables.audit_chain import TableAuditChain
from shared.adapters.tables.ledger import TableLedger
from shared.adapters.tables.responses import TableResponses
from shared.adapters.tables.rollups import TableRollups
from shared.adapters.tables.rows import REGISTRY_TABLE
from shared.adapters.tables.store import InspectableStore, StoreError
from shared.application.audit.chain_keys import ChainKeys
from shared.application.background import Background
from shared.application.ledger.watch_commits import WatchCommits
from shared.application.ports.anchors import AnchorStore
from shared.application.ports.billing import ReportStore
from shared.application.ports.clock import Clock
from shared.application.ports.secrets import Secrets
from shared.application.ports.telemetry import Telemetry
from shared.composition.identity import access_tokens
from shared.composition.secrets import SecretNames, open_secrets
from shared.composition.storage import open_storage
from shared.composition.telemetry import open_telemetry
from shared.domain.audit.hash_chain import HashChain
from shared.settings import Settings

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential

KEEP_WARM_SECONDS = 60.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Adapters:
    """The connections to storage, backends and the identity provider, and the ports that they implement."""

    settings: Settings
    clock: Clock
    chain: HashChain
    store: InspectableStore
    documents: Documents
    ledger: TableLedger
    rollups: TableRollups
    responses: TableResponses
    reports: ReportStore
    anchors: AnchorStore
    anchor_witness: AnchorStore | None
    tenants: DocumentTenants
    keys: DocumentKeys
    key_uses: DocumentKeyUses
    alerts: DocumentAlerts
    alert_deliveries: DocumentDeliveries
    alert_sinks: DocumentSinks
    principals: DocumentPrincipals
    pseudonyms: DocumentPseudonyms
    grant_requests: DocumentGrantRequests
    catalog: DocumentCatalog
    hints: DocumentHints
    prices: DocumentPrices
    cursors: DocumentCursors
    price_records: InspectedPrices
    audit_outbox: DocumentOutbox
    audit_waiting: DocumentWaitingEvents
    audit_chain: TableAuditChain
    audit_periods: DocumentAuditPeriods
    unchained_events: DocumentUnchainedEvents
    audited_documents: DocumentPlaces
    protections: DocumentProtections
    baseline: DocumentBaseline
    tokens: CachedTokens
    access_tokens: EntraAccessTokens | None
    secrets: Secrets
    secret_names: SecretNames
    backend_keys: BackendKeys
    upstream: AiohttpUpstream
    tokenizer: SplintrTokenizer
    background: Background
    telemetry: Telemetry
    resources: AsyncExitStack


async def connect(settings: Settings, clock: Clock | None) -> Adapters:
    """Make all adapters. `clock` is by default corrected by the time of the storage account.

    Asks storage for one row, so that the first request and the first timer know its time. Goes on if that fails.
    """
    storage_clock = StorageClock()
    clock = clock or storage_clock
    async with AsyncExitStack() as opened:  # closes what was opened if the start is interrupted
        session = await opened.enter_async_context(_session())
        tokens = open_tokens(settings, opened)
        names = SecretNames.of(settings)
        secrets = open_secrets(settings, names, tokens, clock, opened)
        backend_keys = BackendKeys(secrets, names.backends)
        storage = await open_storage(settings, tokens, storage_clock, opened)
        store, documents = storage.store, storage.documents
        with suppress(StoreError):  # such as a table that does not exist yet
            await store.get(REGISTRY_TABLE, "time", "time")
        chain = await _open_chain(chain_keys(settings, names, secrets), names, clock, opened)
        telemetry = open_telemetry(settings, opened)
        verifier = access_tokens(settings, session, clock)
        if verifier is not None:
            opened.push_async_callback(verifier.close)
        return Adapters(
            settings=settings,
            clock=clock,
            chain=chain,
            store=store,
            documents=documents,
            ledger=TableLedger(store, chain, clock, watch=WatchCommits(telemetry)),
            rollups=TableRollups(store),
            responses=TableResponses(store, clock),
            reports=storage.reports,
            anchors=storage.anchors,
            anchor_witness=storage.witness,
            tenants=DocumentTenants(documents),
            keys=DocumentKeys(documents),
            key_uses=DocumentKeyUses(documents),
            alerts=DocumentAlerts(documents),
            alert_deliveries=DocumentDeliveries(documents),
            alert_sinks=DocumentSinks(documents),
            principals=DocumentPrincipals(documents),
            pseudonyms=DocumentPseudonyms(documents),
            grant_requests=DocumentGrantRequests(documents),
            catalog=DocumentCatalog(documents),
            hints=DocumentHints(documents),
            prices=DocumentPrices(documents),
            cursors=DocumentCursors(documents),
            price_records=InspectedPrices(documents),
            audit_outbox=DocumentOutbox(documents),
            audit_waiting=DocumentWaitingEvents(documents),
            audit_chain=TableAuditChain(store, chain),
            audit_periods=DocumentAuditPeriods(documents),
            unchained_events=DocumentUnchainedEvents(documents),
            audited_documents=DocumentPlaces(documents),
            protections=DocumentProtections(documents),
            baseline=DocumentBaseline(documents),
            tokens=tokens,
            access_tokens=verifier,
            secrets=secrets,
            secret_names=names,
            backend_keys=backend_keys,
            upstream=AiohttpUpstream(
                session,
                tokens,
                backend_keys,
                _timeouts(settings),
                settings.max_answer_bytes,
            ),
            tokenizer=SplintrTokenizer(),
            background=Background(),
            telemetry=telemetry,
            resources=opened.pop_all(),
        )


def open_tokens(settings: Settings, resources: AsyncExitStack) -> CachedTokens:
    """Make the tokens of the process's one identity. `resources` closes them."""
    tokens = CachedTokens(lambda authority: _credential(settings, authority))
    resources.push_async_callback(tokens.close)
    return tokens


def chain_keys(settings: Settings, names: SecretNames, secrets: Secrets) -> ChainKeys:
    """Return the source of all versions of the chain key."""
    return ChainKeys(secrets, names.chain, settings.chain_keys, settings.audit_chain_key_version)


async def _open_chain(keys: ChainKeys, names: SecretNames, clock: Clock, resources: AsyncExitStack) -> HashChain:
    """Make the hash chain over ledger entries. One whose key is in a vault is kept current until `resources` close."""
    chain = HashChain(await keys.ring(), encode_canonical)
    if names.chain:
        renewal = asyncio.create_task(keys.keep_current(chain, clock))

        async def end() -> None:
            renewal.cancel()
            await asyncio.wait([renewal])

        resources.push_async_callback(end)
    return chain


def _session() -> aiohttp.ClientSession:
    """Open the connection pool for backends, without a limit and without cookies.

    - Bodies are not decompressed, because they are forwarded unchanged.
    - Each new connection resolves its host name, so that a changed private endpoint takes effect at once.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_WARM_SECONDS, use_dns_cache=False),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
    )


def _timeouts(settings: Settings) -> UpstreamTimeouts:
    return UpstreamTimeouts(
        connect_seconds=settings.backend_connect_timeout_seconds,
        head_seconds=settings.backend_head_timeout_seconds,
        idle_seconds=settings.backend_idle_timeout_seconds,
        total_seconds=settings.backend_total_timeout_seconds,
    )


def _credential(settings: Settings, authority: str) -> AsyncTokenCredential:
    """Make the credential of the process: a developer's, that of a service account in Kubernetes, or the platform's."""
    if not settings.use_managed_identity:
        return developer_identity(settings.azure_client_id, authority)
    if settings.azure_federated_token_file:
        return federated_identity(
            settings.azure_client_id,
            settings.azure_tenant_id,
            settings.azure_authority_host,
            Path(settings.azure_federated_token_file),
        )
    return managed_identity(settings.azure_client_id, authority)
