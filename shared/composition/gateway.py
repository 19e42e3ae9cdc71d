"""The only place where adapters meet use cases."""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING

import aiohttp

from shared.adapters.azure_openai.formats.all_formats import FORMATS
from shared.adapters.azure_openai.probe import OpenAIProbe
from shared.adapters.azure_openai.tokenizer import SplintrTokenizer
from shared.adapters.azure_openai.upstream import AiohttpUpstream, UpstreamTimeouts
from shared.adapters.canonical_json import encode_canonical
from shared.adapters.clock import StorageClock
from shared.adapters.documents.audit import DocumentAuditLog
from shared.adapters.documents.pricing import DocumentPrices
from shared.adapters.documents.routing import DocumentCatalog, DocumentHints
from shared.adapters.documents.store import Documents
from shared.adapters.documents.tenancy import DocumentKeys, DocumentTenants
from shared.adapters.identity.credentials import CachedTokens, developer_identity, managed_identity
from shared.adapters.in_memory.documents import InMemoryDocuments
from shared.adapters.in_memory.reports import InMemoryReports
from shared.adapters.in_memory.table_store import InMemoryTableStore
from shared.adapters.on_disk.table_store import DiskSet, SqliteTableStore
from shared.adapters.tables.archive import PeriodArchive
from shared.adapters.tables.ledger import TableLedger
from shared.adapters.tables.responses import TableResponses
from shared.adapters.tables.rest_store import BearerToken, RestTableStore, SharedKey
from shared.adapters.tables.rollups import TableRollups
from shared.adapters.tables.store import TableStore
from shared.application.audit.record_audit import RecordAudit
from shared.application.background import Background
from shared.application.billing.build_statement import BuildStatement
from shared.application.billing.export_chargeback import ExportChargeback
from shared.application.billing.report_usage import ReportUsage
from shared.application.billing.verify_statements import VerifyStatements
from shared.application.cached import Cached
from shared.application.health.check_readiness import CheckReadiness
from shared.application.inference.admit_attempt import AdmitAttempt
from shared.application.inference.list_models import ListModels
from shared.application.inference.meter_stream import Drains
from shared.application.inference.serve_inference import FailoverPolicy, ServeInference
from shared.application.inference.serve_stored_responses import ServeResponses
from shared.application.inference.settle_background_responses import SettleResponses
from shared.application.ledger.close_period import ClosePeriod
from shared.application.ledger.expire_reservations import ExpireReservations
from shared.application.ledger.level_lanes import LevelLanes
from shared.application.ledger.open_period import OpenPeriod
from shared.application.ledger.roll_up_usage import RollUpUsage
from shared.application.ledger.verify_ledger import VerifyLedger
from shared.application.ledger.verify_promises import VerifyPromises
from shared.application.ports.billing import ReportStore
from shared.application.ports.clock import Clock
from shared.application.ports.formats import InferenceFormat
from shared.application.ports.ledger import Ledger
from shared.application.ports.pricing import PriceStore
from shared.application.ports.routing import CatalogStore, HintStore
from shared.application.pricing.manage_prices import ManagePrices
from shared.application.routing.dispatch import Dispatcher, WaitingPolicy
from shared.application.routing.explain_route import ExplainRoute
from shared.application.routing.manage_catalog import ManageCatalog
from shared.application.tenancy.authenticate import Authenticate
from shared.application.tenancy.manage_keys import ManageKeys
from shared.application.tenancy.manage_tenants import ManageTenants
from shared.domain.audit.hash_chain import HashChain
from shared.domain.pricing.price_book import PriceBook
from shared.domain.routing.backend_health import BreakerPolicy
from shared.domain.routing.catalog import Catalog
from shared.settings import Settings, read_settings

if TYPE_CHECKING:
    from azure.core.credentials_async import AsyncTokenCredential
    from azure.storage.blob.aio import BlobServiceClient


@dataclass(frozen=True, slots=True)
class Gateway:
    """Every use case, wired for one process."""

    settings: Settings
    clock: Clock
    ledger: Ledger
    authenticate: Authenticate
    serve_inference: ServeInference
    formats: Mapping[str, InferenceFormat]
    serve_responses: ServeResponses
    settle_responses: SettleResponses
    list_models: ListModels
    dispatcher: Dispatcher
    explain_route: ExplainRoute
    tenants: ManageTenants
    keys: ManageKeys
    catalog: ManageCatalog
    prices: ManagePrices
    usage: ReportUsage
    readiness: CheckReadiness
    open_period: OpenPeriod
    roll_up_usage: RollUpUsage
    level_lanes: LevelLanes
    expire_reservations: ExpireReservations
    export_chargeback: ExportChargeback
    verify: VerifyLedger
    verify_statements: VerifyStatements
    verify_promises: VerifyPromises
    archive: PeriodArchive
    background: Background
    resources: AsyncExitStack

    async def aclose(self) -> None:
        """Finish what is owed to the books, then release connections."""
        await self.background.drain()
        await self.ledger.drain()
        await self.resources.aclose()


KEEP_WARM_SECONDS = 60.0
COLLECTOR_THRESHOLDS = (50_000, 20, 100)
_gateway: asyncio.Task[Gateway] | None = None


def current_gateway() -> asyncio.Future[Gateway]:
    """The gateway of this process, built from the environment when the first request or timer needs it."""
    global _gateway  # noqa: PLW0603 - a process has one gateway
    if _gateway is None or (_gateway.done() and _gateway.exception() is not None):
        _gateway = asyncio.create_task(build(read_settings()))
        _gateway.add_done_callback(settle_heap)
    return _gateway if _gateway.done() else asyncio.shield(_gateway)


def settle_heap(_: object = None) -> None:
    """Keep the collector from walking what was imported again and again: it costs more than most of a request does."""
    gc.collect()
    gc.freeze()
    gc.set_threshold(*COLLECTOR_THRESHOLDS)


async def close_current_gateway() -> None:
    """Finish and release the gateway of this process, if there is one."""
    global _gateway
    if _gateway is not None:
        gateway, _gateway = await _gateway, None
        await gateway.aclose()


async def build(settings: Settings, clock: Clock | None = None) -> Gateway:
    """Wire a gateway, by default on the clock of its storage. Nothing is asked of storage or backends yet."""
    storage_clock = StorageClock()
    clock = clock or storage_clock
    resources = AsyncExitStack()
    session = await resources.enter_async_context(_session())
    tokens = CachedTokens(lambda authority: _credential(settings, authority))
    resources.push_async_callback(tokens.close)
    store, documents, reports = await _storage(settings, tokens, storage_clock, resources)
    api_key = settings.azure_openai_api_key.get_secret_value()

    chain = HashChain(settings.audit_chain_key.get_secret_value().encode(), encode_canonical)
    ledger = TableLedger(store, chain, clock)
    rollups = TableRollups(store)
    tenants, keys = DocumentTenants(documents), DocumentKeys(documents)
    catalog_store, price_store = DocumentCatalog(documents), DocumentPrices(documents)
    prices = Cached(lambda: _price_book(price_store), clock)
    audit = RecordAudit(DocumentAuditLog(documents), clock)
    authenticate = Authenticate(tenants, keys, clock, settings.admin_api_key.get_secret_value())
    background = Background()
    hints = DocumentHints(documents)
    waiting = WaitingPolicy(settings.queue_timeout_seconds, settings.max_queued)
    dispatcher = Dispatcher(clock, background, hints, settings.website_instance_id, waiting, BreakerPolicy())
    catalog = Cached(lambda: _catalog(catalog_store, hints, dispatcher), clock)
    upstream = AiohttpUpstream(session, tokens, api_key, _timeouts(settings))
    tokenizer = SplintrTokenizer()
    responses = TableResponses(store, clock)
    expire = ExpireReservations(tenants, ledger, prices, clock)
    return Gateway(
        settings=settings,
        clock=clock,
        ledger=ledger,
        authenticate=authenticate,
        serve_inference=ServeInference(
            AdmitAttempt(
                ledger,
                tokenizer,
                prices,
                clock,
                responses,
                settings.website_instance_id,
                settings.backend_total_timeout_seconds + settings.failover_timeout_seconds,
            ),
            dispatcher,
            upstream,
            catalog,
            responses,
            clock,
            background,
            Drains(settings.drain_timeout_seconds, settings.max_drains),
            FailoverPolicy(settings.max_attempts, settings.failover_timeout_seconds),
        ),
        serve_responses=ServeResponses(responses, upstream, catalog),
        settle_responses=SettleResponses(
            responses, upstream, ledger, tokenizer, catalog, prices, clock, FORMATS["responses"]
        ),
        formats=FORMATS,
        list_models=ListModels(catalog),
        dispatcher=dispatcher,
        explain_route=ExplainRoute(tenants, catalog, dispatcher, clock),
        tenants=ManageTenants(tenants, catalog_store, ledger, authenticate, audit, clock),
        keys=ManageKeys(tenants, keys, authenticate, audit, clock),
        catalog=ManageCatalog(
            catalog_store,
            catalog,
            tenants,
            audit,
            settings.host_suffixes,
            allow_loopback=settings.allow_loopback_backends,
        ),
        prices=ManagePrices(price_store, prices, audit),
        usage=ReportUsage(ledger, rollups, tenants),
        readiness=CheckReadiness(ledger, catalog_store, OpenAIProbe(tokens, api_key), clock),
        open_period=OpenPeriod(tenants, ledger, clock),
        roll_up_usage=RollUpUsage(ledger, rollups, clock),
        level_lanes=LevelLanes(ledger, clock),
        expire_reservations=expire,
        export_chargeback=ExportChargeback(
            ClosePeriod(ledger, expire, clock, timedelta(hours=settings.close_grace_hours)),
            BuildStatement(ledger, tenants, price_store, reports),
            clock,
        ),
        verify=VerifyLedger(ledger, rollups, price_store, chain, DiskSet),
        verify_statements=VerifyStatements(ledger, reports),
        verify_promises=VerifyPromises(ledger, clock),
        archive=PeriodArchive(store, price_store),
        background=background,
        resources=resources,
    )


async def open_archive(settings: Settings, path: Path) -> tuple[VerifyLedger, str]:
    """What verifies an exported period, and which one it is; nothing is asked of storage."""
    clock, store, prices = StorageClock(), SqliteTableStore(), DocumentPrices(InMemoryDocuments())
    period = await PeriodArchive(store, prices).restore(path)
    chain = HashChain(settings.audit_chain_key.get_secret_value().encode(), encode_canonical)
    return VerifyLedger(TableLedger(store, chain, clock), TableRollups(store), prices, chain, DiskSet), period


def _session() -> aiohttp.ClientSession:
    """The pool for backends: unbounded, kept warm, no cookies, bodies as they are.

    Names are resolved for each new connection, so that what the resolver says of a private endpoint holds at once.
    """
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_WARM_SECONDS, use_dns_cache=False),
        cookie_jar=aiohttp.DummyCookieJar(),
        auto_decompress=False,
    )


def _timeouts(settings: Settings) -> UpstreamTimeouts:
    return UpstreamTimeouts(
        connect=settings.backend_connect_timeout_seconds,
        head=settings.backend_head_timeout_seconds,
        idle=settings.backend_idle_timeout_seconds,
        total=settings.backend_total_timeout_seconds,
    )


def _credential(settings: Settings, authority: str) -> AsyncTokenCredential:
    choose = managed_identity if settings.use_managed_identity else developer_identity
    return choose(settings.azure_client_id, authority)


async def _catalog(store: CatalogStore, hints: HintStore, dispatcher: Dispatcher) -> Catalog:
    """What is configured, and with it what other processes know of it: both are there before the first request."""
    catalog, known = await asyncio.gather(store.load(), hints.load())
    dispatcher.learn(known, catalog.backends)
    return catalog


async def _price_book(store: PriceStore) -> PriceBook:
    return PriceBook(await store.load())


async def _storage(
    settings: Settings, tokens: CachedTokens, clock: StorageClock, resources: AsyncExitStack
) -> tuple[TableStore, Documents, ReportStore]:
    """The ledger's store, the documents and the reports; imports only the SDKs that the settings need."""
    if settings.tallygate_storage == "memory":
        return InMemoryTableStore(), InMemoryDocuments(), InMemoryReports()

    from azure.core.credentials import AzureNamedKeyCredential
    from azure.data.tables.aio import TableServiceClient

    from shared.adapters.blobs.reports import BlobReports
    from shared.adapters.tables.documents import TableDocuments

    account, key = settings.tallygate_storage_account_name, settings.tallygate_storage_account_key.get_secret_value()
    credential = AzureNamedKeyCredential(account, key) if key else tokens.credential
    authorization = SharedKey(account, key) if key else BearerToken(tokens)
    store = RestTableStore(settings.tallygate_table_endpoint, authorization, clock=clock)
    resources.push_async_callback(store.aclose)
    service = await resources.enter_async_context(
        TableServiceClient(settings.tallygate_table_endpoint, credential=credential, retry_total=0)
    )

    def connect_blobs() -> BlobServiceClient:
        from azure.storage.blob.aio import BlobServiceClient

        blob_credential = {"account_name": account, "account_key": key} if key else tokens.credential
        return BlobServiceClient(settings.tallygate_blob_endpoint, credential=blob_credential)

    return store, TableDocuments(service), BlobReports(connect_blobs)
