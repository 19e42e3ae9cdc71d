"""Manage the sinks of alerts: those of the platform, and those of each tenant."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import replace
from typing import Final

from shared.application.audit.record_audit import Actor, RecordAudit
from shared.application.ports.alerts import AlertDeliveries, AlertSender, Backlog, SinkDirectory
from shared.application.ports.clock import Clock
from shared.application.ports.tenancy import TenantDirectory
from shared.domain.alerts.sink import AlertSink, SinkId, SinkType
from shared.domain.damaged_row import DamagedRow
from shared.domain.errors import InvalidRequest, NotFound, VersionConflict
from shared.domain.values import value

MAX_SINKS: Final = 20
"""The most sinks of one owner."""
_MAX_REVIVED: Final = 1000


@value
class ConfiguredSink:
    """A sink, and the version of its document. Sinks of the settings have no version."""

    sink: AlertSink
    etag: str


class ManageSinks:
    """The use cases of sinks. Each change is stored together with its audit event, and takes effect at the next run.

    `own_secrets` are the gateway's own: no sink may have them. All methods raise `StorageUnavailable`.
    """

    def __init__(
        self,
        sinks: SinkDirectory,
        deliveries: AlertDeliveries,
        sender: AlertSender,
        tenants: TenantDirectory,
        clock: Clock,
        record_audit: RecordAudit,
        own_secrets: Collection[str],
        of_settings: Sequence[AlertSink] = (),
    ) -> None:
        self._sinks = sinks
        self._deliveries = deliveries
        self._sender = sender
        self._tenants = tenants
        self._clock = clock
        self._record_audit = record_audit
        self._own_secrets = {name.lower() for name in own_secrets if name}
        self._of_settings = {sink.name: sink for sink in of_settings}

    async def list(self, tenant_id: str) -> list[ConfiguredSink]:
        """Return the sinks of a tenant, or of the platform. Raises `NotFound` for a tenant that is not registered."""
        await self._check_owner(tenant_id)
        stated = [] if tenant_id else [ConfiguredSink(sink, "") for sink in self._of_settings.values()]
        return stated + [ConfiguredSink(*found) for found in await self._sinks.of_owner(tenant_id)]

    async def damaged(self, tenant_id: str) -> Sequence[DamagedRow]:
        """Return the rows of a tenant's sinks, or of the platform's, that cannot be read."""
        return await self._sinks.damaged_of(tenant_id)

    async def get(self, sink_id: SinkId) -> ConfiguredSink:
        """Return a sink. Raises `NotFound`, and `RowsDamaged`."""
        if not sink_id.tenant_id and sink_id.name in self._of_settings:
            return ConfiguredSink(self._of_settings[sink_id.name], "")
        return await self._stored(sink_id)

    async def put(self, sink: AlertSink, etags: Collection[str], actor: Actor) -> ConfiguredSink:
        """Insert or replace a sink: the version that `etags` name, or any if they are empty. Idempotent.

        One that is put anew gets only events that are raised from now on.

        Raises `InvalidRequest` for values that cannot work, `NotFound` for an unknown tenant, and `VersionConflict`.
        """
        await self._check_owner(sink.tenant_id)
        self._check_settings(sink.sink_id)
        self._check_fields(sink)
        await self._sender.check(sink)
        found = await self._sinks.get(sink.sink_id)
        if etags and (found is None or found[1] not in etags):
            raise VersionConflict
        now = self._clock.now()
        sink = replace(sink, created_at=found[0].created_at if found else now)
        if found is not None and found[0] == sink:
            return ConfiguredSink(*found)
        if found is None and len(await self._sinks.of_owner(sink.tenant_id)) >= MAX_SINKS:
            raise InvalidRequest(f"There are {MAX_SINKS} sinks already, and no more are possible.", "sink")
        before, etag = found or (None, None)
        event = actor.event(now, "sink.put", sink.sink_id.path, before=before, after=sink)
        return ConfiguredSink(sink, await self._sinks.put(sink, etag, event))

    async def remove(self, sink_id: SinkId, etags: Collection[str], actor: Actor) -> None:
        """Remove a sink. What waits for it is not delivered, also not to a later sink of its name.

        Raises `NotFound` and `VersionConflict`.
        """
        self._check_settings(sink_id)
        found = await self._stored(sink_id)
        if etags and found.etag not in etags:
            raise VersionConflict
        event = actor.event(self._clock.now(), "sink.remove", sink_id.path, before=found.sink)
        await self._sinks.remove(sink_id, found.etag, event)

    async def redeliver(self, sink_id: SinkId, actor: Actor) -> int:
        """Let at most a thousand deliveries that were given up wait again. Returns their number. Raises `NotFound`."""
        found = await self.get(sink_id)
        await self._record_audit(actor, "sink.redeliver", sink_id.path)
        return await self._deliveries.revive(found.sink, self._clock.now(), _MAX_REVIVED)

    async def backlog(self, sink: AlertSink) -> Backlog:
        """Count what waits for a sink, what was given up, and what is damaged."""
        return await self._deliveries.backlog(sink)

    async def _stored(self, sink_id: SinkId) -> ConfiguredSink:
        found = await self._sinks.get(sink_id)
        if found is None:
            raise NotFound(f"No sink '{sink_id.name}' is configured.")
        return ConfiguredSink(*found)

    async def _check_owner(self, tenant_id: str) -> None:
        if tenant_id and await self._tenants.get(tenant_id) is None:
            raise NotFound(f"No tenant '{tenant_id}' is registered.")

    def _check_settings(self, sink_id: SinkId) -> None:
        if not sink_id.tenant_id and sink_id.name in self._of_settings:
            raise InvalidRequest(f"The sink '{sink_id.name}' is defined by the settings.", "sink")

    def _check_fields(self, sink: AlertSink) -> None:
        """Raise `InvalidRequest` if a field that the type needs is missing, or one that it does not have is stated."""
        needed = {"endpoint": sink.type is SinkType.EVENT_GRID, "signing_secret": sink.type is SinkType.WEBHOOK}
        needed["address_secret"] = not needed["endpoint"]
        for name, is_needed in needed.items():
            stated = getattr(sink, name)
            if bool(stated) is not is_needed:
                told = "is needed" if is_needed else "is not used"
                raise InvalidRequest(f"'{name}' {told} by a sink of the type '{sink.type}'.", name)
            if name != "endpoint" and stated.lower() in self._own_secrets:
                raise InvalidRequest(f"The secret '{stated}' is the gateway's own; no sink may have it.", name)
