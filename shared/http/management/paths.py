"""The parts of the paths below `/manage`, and the limit of a body."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request

from shared.domain.errors import NotFound
from shared.domain.identifiers import BillingPeriod, checked_tenant_id
from shared.http.requests import path_segment

MODEL_BYTES: Final = 1024 * 1024
_NAME_SEGMENT: Final = 2
_KEY_SEGMENT: Final = 4
_MAX_KEY_ID: Final = 64


def name_of(request: Request) -> str:
    """Return the backend or deployment of `/manage/{noun}/{name}`."""
    return path_segment(request, _NAME_SEGMENT)


def tenant_id_of(request: Request) -> str:
    """Return the tenant of `/manage/tenants/{tenant}`. Raises `InvalidRequest` if that is no possible id."""
    return checked_tenant_id(name_of(request))


def period_of(request: Request) -> BillingPeriod:
    """Return the period of `/manage/{noun}/{period}/{verb}`. Raises `InvalidRequest` if that is none."""
    return BillingPeriod.parse(path_segment(request, _NAME_SEGMENT))


def key_id_of(request: Request) -> str:
    """Return the key of `/manage/tenants/{tenant}/keys/{key}`. Raises `NotFound` if that is no possible id."""
    key_id = path_segment(request, _KEY_SEGMENT)
    if len(key_id) > _MAX_KEY_ID or not key_id.isprintable():
        raise NotFound("No such key is known.")
    return key_id
