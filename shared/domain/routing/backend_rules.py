"""The rules that a backend must keep to be stored. One that is stored already serves, whatever the rules say."""

from __future__ import annotations

from dataclasses import replace
from typing import Final

from shared.domain.errors import InvalidRequest
from shared.domain.routing.catalog import Backend, BackendApi, BackendAuth
from shared.domain.routing.endpoints import check_endpoint
from shared.domain.routing.known_values import AUTHORITIES, DATA_ZONES, REGIONS, TOKEN_SCOPES, require_known
from shared.domain.routing.residency import SKUS, checked_placement
from shared.domain.routing.spillover import SPILLOVER_HEADER
from shared.domain.values import record

_SPILLOVER: Final = "spillover_deployment"


@record
class BackendRules:
    """The hosts that backends may have, and values that the operator allows beside the known ones."""

    host_suffixes: tuple[str, ...]
    allow_loopback: bool = False
    regions: tuple[str, ...] = ()
    skus: tuple[str, ...] = ()
    zones: tuple[str, ...] = ()
    token_scopes: tuple[str, ...] = ()
    authorities: tuple[str, ...] = ()
    has_vault: bool = False
    """A key vault is configured, so that backends can have keys of their own."""
    own_secrets: tuple[str, ...] = ()
    """Secrets of the gateway itself. A backend that named one would receive it."""

    def checked(self, backend: Backend, before: Backend | None) -> Backend:
        """Return a backend with the zone of its region filled in. Raises `InvalidRequest`, which names the field.

        Values that the stored backend `before` has already are accepted, so that an older one can be changed and
        drained. Its endpoint is checked again.
        """
        check_endpoint(backend.endpoint, self.host_suffixes, allow_loopback=self.allow_loopback)
        if before is None or backend.token_scope != before.token_scope:
            require_known("token_scope", backend.token_scope, TOKEN_SCOPES, self.token_scopes)
        if backend.authority and (before is None or backend.authority != before.authority):
            require_known("authority", backend.authority, AUTHORITIES, self.authorities)
        if before is None or backend.secret_name != before.secret_name or backend.auth is not before.auth:
            self._check_secret(backend)
        backend = self._with_spillover(backend)
        if before is not None and (backend.placement, backend.api) == (before.placement, before.api):
            return backend
        return self._placed(backend)

    def _check_secret(self, backend: Backend) -> None:
        """Check the name of the secret that holds the backend's key. The vault takes letters of both cases as equal."""
        name = backend.secret_name
        if not name:
            return
        if backend.auth is not BackendAuth.API_KEY:
            raise InvalidRequest("'secret_name' is only for a backend whose 'auth' is 'api_key'.", "secret_name")
        if not self.has_vault:
            raise InvalidRequest("'secret_name' needs a key vault: AZURE_KEY_VAULT_URL is not set.", "secret_name")
        if name.lower() in map(str.lower, self.own_secrets):
            raise InvalidRequest(f"The secret '{name}' is the gateway's own; no backend may have it.", "secret_name")

    def _with_spillover(self, backend: Backend) -> Backend:
        """Check the spillover deployment, and fill in its region and zone. It is in the same resource."""
        stated, asked = backend.spillover_deployment, backend.headers.get(SPILLOVER_HEADER)
        if asked is not None and (stated is None or stated.deployment != asked):
            raise InvalidRequest(f"'{SPILLOVER_HEADER}' must name the 'spillover_deployment'.", "headers")
        if stated is None:
            return backend
        if stated.deployment == backend.upstream_deployment:
            raise InvalidRequest("A backend cannot spill over to itself.", _SPILLOVER)
        region = stated.region or backend.region
        zone = stated.zone or (backend.zone if region == backend.region else "")
        try:
            require_known("sku", stated.sku, SKUS, self.skus)
            placement = checked_placement(stated.sku, region, zone)
        except InvalidRequest as error:
            raise InvalidRequest(str(error), f"{_SPILLOVER}.{error.param}") from None
        return replace(backend, spillover_deployment=replace(stated, region=region, zone=placement.zone))

    def _placed(self, backend: Backend) -> Backend:
        require_known("sku", backend.sku, SKUS, self.skus)
        if backend.api is BackendApi.AZURE:
            require_known("region", backend.region, REGIONS, self.regions)
        if backend.zone:
            require_known("zone", backend.zone, DATA_ZONES, self.zones)
        placement = checked_placement(backend.sku, backend.region, backend.zone)
        return replace(backend, zone=placement.zone)
