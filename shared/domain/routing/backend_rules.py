"""The rules that a backend must keep to be stored. One that is stored already serves, whatever the rules say."""

from __future__ import annotations

from dataclasses import replace

from shared.domain.routing.catalog import Backend, BackendApi
from shared.domain.routing.endpoints import check_endpoint
from shared.domain.routing.known_values import AUTHORITIES, DATA_ZONES, REGIONS, TOKEN_SCOPES, require_known
from shared.domain.routing.residency import SKUS, checked_placement
from shared.domain.values import record


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
        if before is not None and (backend.placement, backend.api) == (before.placement, before.api):
            return backend
        return self._placed(backend)

    def _placed(self, backend: Backend) -> Backend:
        require_known("sku", backend.sku, SKUS, self.skus)
        if backend.api is BackendApi.AZURE:
            require_known("region", backend.region, REGIONS, self.regions)
        if backend.zone:
            require_known("zone", backend.zone, DATA_ZONES, self.zones)
        placement = checked_placement(backend.sku, backend.region, backend.zone)
        return replace(backend, zone=placement.zone)
