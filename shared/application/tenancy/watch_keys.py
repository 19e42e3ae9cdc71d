"""Watch the use of credentials: from which addresses, when last, and after their end."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NoReturn

from shared.application.alerts.raise_alert import RaiseAlert
from shared.application.tenancy.note_key_use import NoteKeyUse
from shared.domain.alerts.alert import AlertKind
from shared.domain.errors import AddressNotAllowed, KeyUsedElsewhere
from shared.domain.tenancy.address_ranges import is_within
from shared.domain.tenancy.keys import GatewayKey
from shared.domain.tenancy.lookup_budget import network_of
from shared.domain.tenancy.tenant import Tenant

_UNKNOWN: Final = "unknown"


class WatchKeys:
    """Refuses callers from addresses where a credential must not be used, and raises alerts about stolen ones.

    `source` returns the caller's address, an empty text if it is not known. An unknown address lies in no range.
    """

    def __init__(self, note_use: NoteKeyUse, raise_alert: RaiseAlert) -> None:
        self._note_use = note_use
        self._raise_alert = raise_alert

    def admit(self, tenant: Tenant, key: GatewayKey, source: Callable[[], str]) -> bool:
        """Note the use of a valid key. Returns true if the key may be used from everywhere.

        Raises `KeyUsedElsewhere` for an address outside the ranges of the key or of its tenant.
        """
        ranges = [each for each in (tenant.address_ranges, key.address_ranges) if each]
        if ranges and not all(is_within(each, source()) for each in ranges):
            network = network_of(source()) or _UNKNOWN
            self._alert_of_key(AlertKind.KEY_ADDRESS_REFUSED, key, f"{key.key_id}:{network}", network)
            raise KeyUsedElsewhere(key.tenant_id, key.key_id)
        self._note_use((key.tenant_id, key.key_id))
        return not ranges

    def note_use_after_end(self, key: GatewayKey, source: Callable[[], str]) -> None:
        """Raise an alert, once a day, about a key that is used although it is revoked or has expired."""
        network = network_of(source()) or _UNKNOWN
        self._alert_of_key(AlertKind.KEY_USED_AFTER_END, key, key.key_id, network, daily=True)

    def admits_from(self, tenant: Tenant, source: Callable[[], str]) -> bool:
        """Tell whether a token may be used from the caller's address."""
        return not tenant.address_ranges or is_within(tenant.address_ranges, source())

    def refuse_token(self, tenant: Tenant, holder: str, source: Callable[[], str]) -> NoReturn:
        """Raise an alert, and `AddressNotAllowed`.

        `holder` is the object id or alias of a person, or the id of an application.
        """
        network = network_of(source()) or _UNKNOWN
        self._raise_alert(
            AlertKind.TOKEN_ADDRESS_REFUSED,
            tenant.tenant_id,
            f"{tenant.tenant_id}:{holder}:{network}",
            f"tenants/{tenant.tenant_id}",
            {"tenant_id": tenant.tenant_id, "holder": holder, "network": network},
        )
        raise AddressNotAllowed

    def _alert_of_key(self, kind: AlertKind, key: GatewayKey, name: str, network: str, *, daily: bool = False) -> None:
        data = {"tenant_id": key.tenant_id, "key_id": key.key_id, "label": key.label, "owner": key.owner}
        subject = f"tenants/{key.tenant_id}/keys/{key.key_id}"
        self._raise_alert(kind, key.tenant_id, name, subject, {**data, "network": network}, daily=daily)
