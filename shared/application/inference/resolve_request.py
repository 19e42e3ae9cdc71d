"""Resolve an incoming call: parse its body, find its deployment and the backends that may serve it."""

from __future__ import annotations

from typing import Final

from shared.application.cached_value import Cached
from shared.application.inference.admit_attempt import AdmitAttempt, output_bound
from shared.application.inference.affinity import affinity_point
from shared.application.inference.body_threads import on_body_thread
from shared.application.inference.check_structure import check_structure
from shared.application.inference.incoming_call import IncomingCall
from shared.application.inference.protect_privacy import ProtectPrivacy
from shared.application.inference.resolved_request import ResolvedRequest
from shared.application.inference.user_of_call import stated_user
from shared.application.ports.formats import InferenceFormat
from shared.application.ports.inference import ResponseDirectory
from shared.application.routing.dispatch import Dispatcher
from shared.application.tenancy.principals import TenantPrincipal
from shared.domain.errors import DeploymentNotFound, InvalidRequest, ResponseNotFound
from shared.domain.inference.parsed_body import ParsedBody
from shared.domain.inference.stored_response import StoredResponse
from shared.domain.inference.structure import StructureBounds
from shared.domain.routing.catalog import Catalog, Deployment
from shared.domain.routing.selection import Pool
from shared.domain.tenancy.tenant import Tenant

_LARGE_BODY_BYTES: Final = 262_144


class ResolveRequest:
    """Turns an incoming call into a resolved request."""

    def __init__(
        self,
        catalog: Cached[Catalog],
        responses: ResponseDirectory,
        dispatcher: Dispatcher,
        admit: AdmitAttempt,
        structure: StructureBounds,
        privacy: ProtectPrivacy,
    ) -> None:
        self._structure = structure
        self._catalog = catalog
        self._responses = responses
        self._dispatcher = dispatcher
        self._admit = admit
        self._privacy = privacy

    async def __call__(self, caller: TenantPrincipal, call: IncomingCall, format_: InferenceFormat) -> ResolvedRequest:
        """Resolve one call.

        Raises `InvalidRequest`, `DeploymentNotFound`, `ResponseNotFound`, `ResidencyViolation`, `BackendUnavailable`
        where no backend is configured, and `SecretUnavailable` where the tenant's privacy needs a key that is missing.
        """
        tenant = caller.tenant
        body = await self._parse(call, format_)
        previous = await self._previous(caller, body.previous_response_id) if body.previous_response_id else None
        catalog = await self._catalog.get()
        deployment = _deployment(catalog, tenant, call.deployment or body.model)
        pool = self._pool(catalog, tenant, deployment, previous)
        model = pool.candidates[0].backend.model
        input_tokens = await self._admit.count_input(body, deployment, previous, model)
        user, prompt_hmac = stated_user(caller, call.user, body.user), ""
        if tenant.pseudonymise_users and user:
            user = await self._privacy.alias(tenant, user)
        if tenant.prompt_hmac:
            prompt_hmac = await self._privacy.prompt_hmac(tenant, body, format_)
        return ResolvedRequest(
            caller=caller,
            user=user or caller.key_id or caller.application,
            prompt_hmac=prompt_hmac,
            call=call,
            format=format_,
            body=body,
            deployment=deployment,
            previous=previous,
            catalog=catalog,
            pool=pool,
            model=model,
            input_tokens=input_tokens,
            output_tokens=output_bound(body, deployment, self._admit.count_predictions(body, model)),
            affinity_point=affinity_point(tenant, body, pool, input_tokens),
        )

    async def _parse(self, call: IncomingCall, format_: InferenceFormat) -> ParsedBody:
        """Parse the body; a large one on a thread, so that streams go on meanwhile."""
        if len(call.body) <= _LARGE_BODY_BYTES:
            return format_.read_request(call.body, call.content_type)
        if not format_.is_multipart:
            await check_structure(call.body, self._structure)
        return await on_body_thread(format_.read_request, call.body, call.content_type)

    async def _previous(self, caller: TenantPrincipal, response_id: str) -> StoredResponse:
        previous = await self._responses.get(caller.tenant.tenant_id, response_id)
        if previous is None or not caller.covers(previous.deployment):
            raise ResponseNotFound
        return previous

    def _pool(self, catalog: Catalog, tenant: Tenant, deployment: Deployment, previous: StoredResponse | None) -> Pool:
        """Find the backends that may serve. A response that follows another must go to the same Azure resource."""
        if previous is None:
            return self._dispatcher.pool(catalog, tenant, deployment)
        owner = catalog.backend(previous.backend_id)
        pool = self._dispatcher.pool(catalog, tenant, deployment, owner.endpoint if owner else "")
        if owner is None or not pool.candidates:
            raise ResponseNotFound
        return pool


def _deployment(catalog: Catalog, tenant: Tenant, name: str | None) -> Deployment:
    """Find a deployment that the tenant may use. An unknown one and another tenant's give the same error."""
    if not name:
        raise InvalidRequest("'model' is required and must name a deployment.", "model")
    deployment = catalog.deployments.get(name)
    if deployment is None or name not in tenant.deployments:
        if name in tenant.deployments:
            catalog.require_sound("deployment", name)
        raise DeploymentNotFound
    return deployment
