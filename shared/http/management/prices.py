"""The management routes of the price book."""

from __future__ import annotations

from pydantic import TypeAdapter
from starlette.requests import Request
from starlette.responses import Response

from shared.application.audit.record_audit import Actor
from shared.composition.gateway import Gateway
from shared.domain.pricing.price_book import Price
from shared.http.endpoint import for_administrators, json_response, list_response
from shared.http.management.models import PriceInsertion
from shared.http.management.paths import MODEL_BYTES
from shared.http.requests import read_model

_price_json = TypeAdapter(Price)


@for_administrators
async def insert_price(gateway: Gateway, request: Request, actor: Actor) -> Response:
    """`POST /manage/prices`."""
    row = await read_model(request, PriceInsertion, MODEL_BYTES)
    price = await gateway.pricing.prices.insert(row.to_domain(), actor)
    return json_response(_price_document(price), 201)


@for_administrators
async def list_prices(gateway: Gateway, _request: Request, _: Actor) -> Response:
    """`GET /manage/prices`."""
    return list_response([_price_document(price) for price in await gateway.pricing.prices.list()])


def _price_document(price: Price) -> dict[str, object]:
    return {"price_id": price.price_id, **_price_json.dump_python(price, mode="json")}
