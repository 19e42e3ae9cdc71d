"""Charge an attempt that another deployment has served, by Azure's own spillover, as that deployment's."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from dataclasses import replace
from datetime import datetime

from shared.application.inference.metered_attempt import MeteredAttempt
from shared.application.inference.resolved_request import ResolvedRequest
from shared.application.structured_log import BACKEND, MESSAGE, TENANT, log_event
from shared.domain.errors import UnpricedModel
from shared.domain.pricing.rates import PriceFlag, Rates
from shared.domain.routing.answer import Headers
from shared.domain.routing.catalog import Backend, Catalog
from shared.domain.routing.residency import ANYWHERE
from shared.domain.routing.spillover import Spillover, served_by, spill_error

_UNNAMED = "unknown"


def as_served(attempt: MeteredAttempt, request: ResolvedRequest, backend: Backend, headers: Headers) -> MeteredAttempt:
    """Return the attempt with the prices and facts of the deployment that the answer's headers name.

    A deployment that nobody has configured is an alarm in the log. Its price is that of a known deployment of the
    resource with that name, else the dearest of all that are known there, and the entry is flagged.
    """
    name = served_by(headers)
    if name is None:
        _log(logging.WARNING, "gateway.backend.spill_failed", request, backend, spill_error(headers))
        return attempt
    configured = backend.spillover_deployment
    if configured is not None and name in ("", configured.deployment):
        _log(logging.INFO, "gateway.spillover", request, backend, f"served by '{configured.deployment}'")
        return _priced(attempt, request, [configured]) or attempt
    _log(logging.ERROR, "gateway.backend.spilled", request, backend, f"not configured: '{name}'")
    known = [*_of_resource(request.catalog, backend)]
    named = [each for each in known if each.deployment == name != backend.upstream_deployment]
    flagged = replace(attempt, flag=PriceFlag.UNCONFIGURED_SPILLOVER)
    if named and (found := _priced(flagged, request, named)) is not None:
        return found
    dearest = _priced(flagged, request, known) or flagged
    facts = dearest.facts
    return replace(dearest, served=replace(facts, sku="", processed_in=ANYWHERE, spilled_to=name or _UNNAMED))


def _priced(attempt: MeteredAttempt, request: ResolvedRequest, targets: Sequence[Spillover]) -> MeteredAttempt | None:
    """Return the attempt as served by the dearest of some deployments; `None` if none has a price."""
    held, priced = attempt.reservation, []
    for target in targets:
        rates = _rates(attempt, request, target)
        if rates is not None:
            cost = rates.dearest(held.amount.tokens - held.output_tokens, held.output_tokens, request.body.units)
            priced.append((cost, target, rates))
    if not priced:
        return None
    _, target, rates = max(priced, key=lambda each: each[0])
    served = replace(
        held.attempt,
        model=target.model,
        region=target.region,
        sku=target.sku,
        processed_in=target.placement.processed_in,
        spilled_to=target.deployment,
    )
    return replace(attempt, rates=rates, served=served)


def _rates(attempt: MeteredAttempt, request: ResolvedRequest, target: Spillover) -> Rates | None:
    at = datetime.fromisoformat(attempt.reservation.created)
    try:
        return attempt.book.rates(target.price_key, at, request.body.basis, request.body.service_tier)
    except UnpricedModel:
        return None


def _of_resource(catalog: Catalog, backend: Backend) -> Iterator[Spillover]:
    """List the deployments that are known of the backend's resource, its own among them."""
    for each in (backend, *catalog.backends.values()):
        if each.endpoint.rstrip("/") == backend.endpoint.rstrip("/"):
            yield Spillover(
                deployment=each.upstream_deployment,
                sku=each.sku,
                model=each.model,
                model_version=each.model_version,
                region=each.region,
                zone=each.zone,
            )
            if each.spillover_deployment is not None:
                yield each.spillover_deployment


def _log(level: int, event: str, request: ResolvedRequest, backend: Backend, message: str) -> None:
    log_event(level, event, {TENANT: request.tenant.tenant_id, BACKEND: backend.backend_id, MESSAGE: message})
