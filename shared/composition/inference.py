"""Wire the use cases of inference."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from shared.adapters.azure_openai.formats.all_formats import FORMATS
from shared.adapters.request_bodies import BodyBounds, BodyReader
from shared.application.inference.admit_attempt import AdmitAttempt
from shared.application.inference.attempt_backend import AttemptBackend
from shared.application.inference.check_before_body import CheckBeforeBody
from shared.application.inference.list_models import ListModels
from shared.application.inference.meter_stream import Drains
from shared.application.inference.note_failover import NoteFailover
from shared.application.inference.protect_privacy import ProtectPrivacy
from shared.application.inference.resolve_request import ResolveRequest
from shared.application.inference.serve_inference import FailoverPolicy, ServeInference
from shared.application.inference.serve_stored_responses import ServeResponses
from shared.application.inference.settle_background_responses import SettleResponses
from shared.application.ports.clock import Clock
from shared.application.ports.formats import InferenceFormat
from shared.application.sweep import Sweep
from shared.application.telemetry.request_trace import RequestTraces, TracePolicy
from shared.application.tenancy.authenticate import Authenticate
from shared.composition.adapters import Adapters
from shared.composition.pricing import Pricing
from shared.composition.routing import Routing
from shared.composition.tenancy import Tenancy
from shared.domain.inference.structure import StructureBounds
from shared.domain.values import record


@record
class ReaderTimes:
    """The times, in seconds, that a caller gets to read an answer."""

    keep_alive_seconds: float
    """The silence after which a stream gets a comment."""
    stall_seconds: float
    """The longest time for which a caller may accept nothing."""
    total_seconds: float
    """The longest time for the whole answer."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Inference:
    """The use cases and settings that inference routes need, and nothing else of the gateway."""

    clock: Clock
    traces: RequestTraces
    authenticate: Authenticate
    serve: ServeInference
    formats: Mapping[str, InferenceFormat]
    stored_responses: ServeResponses
    settle_background: SettleResponses
    list_models: ListModels
    trusted_proxy_hops: int
    before_body: CheckBeforeBody
    bodies: BodyReader
    reader_times: ReaderTimes


def wire_inference(adapters: Adapters, tenancy: Tenancy, pricing: Pricing, routing: Routing, sweep: Sweep) -> Inference:
    """Make the use cases of inference."""
    settings, clock, catalog = adapters.settings, adapters.clock, routing.configured
    telemetry = adapters.telemetry
    policy = TracePolicy(settings.telemetry_sampling_ratio, settings.telemetry_slow_seconds)
    traces = RequestTraces(telemetry, clock, policy)
    before_body = CheckBeforeBody(adapters.ledger, clock)
    structure = StructureBounds(elements=settings.max_body_elements, values=settings.max_body_values)
    admit = AdmitAttempt(
        adapters.ledger,
        adapters.tokenizer,
        pricing.book,
        clock,
        adapters.responses,
        settings.website_instance_id,
        settings.backend_total_timeout_seconds + settings.failover_timeout_seconds,
        before_body.note_refusal,
    )
    privacy = ProtectPrivacy(tenancy.users, tenancy.privacy_keys)
    drains = Drains(settings.drain_timeout_seconds, settings.max_drains)
    settle_background = SettleResponses(
        adapters.responses,
        adapters.upstream,
        adapters.ledger,
        adapters.tokenizer,
        catalog,
        pricing.book,
        clock,
        FORMATS["responses"],
        sweep,
        traces,
    )
    return Inference(
        clock=clock,
        traces=traces,
        authenticate=tenancy.authenticate,
        serve=ServeInference(
            ResolveRequest(catalog, adapters.responses, routing.dispatcher, admit, structure, privacy),
            AttemptBackend(admit, adapters.upstream, clock, adapters.background, drains, telemetry),
            routing.dispatcher,
            routing.turns,
            clock,
            adapters.background,
            FailoverPolicy(settings.max_attempts, settings.failover_timeout_seconds),
            NoteFailover(telemetry),
        ),
        formats=FORMATS,
        stored_responses=ServeResponses(adapters.responses, adapters.upstream, catalog, settle_background),
        settle_background=settle_background,
        list_models=ListModels(catalog),
        trusted_proxy_hops=settings.trusted_proxy_hops,
        before_body=before_body,
        bodies=BodyReader(
            BodyBounds(
                max_bytes=settings.max_body_bytes,
                budget_bytes=settings.body_budget_bytes,
                seconds=settings.body_timeout_seconds,
                bytes_per_second=settings.min_body_bytes_per_second,
            )
        ),
        reader_times=ReaderTimes(
            keep_alive_seconds=settings.keep_alive_seconds,
            stall_seconds=settings.client_stall_timeout_seconds,
            total_seconds=settings.backend_total_timeout_seconds,
        ),
    )
