"""The management routes of the price book."""

from __future__ import annotations

from pydantic import TypeAdapter
from starlette.requests import Request
from starlette.responses import Response

from shared.application.audit.record_audit import Actor
from shared.composition.gateway import Gateway
from shared.domain.pricing.price import Price
from shared.http.endpoint import for_managers, json_response, list_response
from shared.http.management.paths import MODEL_BYTES
from shared.http.management.price_model import PriceInsertion
from shared.http.requests import read_model

_price_json = TypeAdapter(Price)


@for_managers
async def insert_price(gateway: Gateway, request: Request, actor: Actor) -> Response:
    """`POST /manage/prices`. The answer is 201, or 200 if the row was stored before."""
    row = await read_model(request, PriceInsertion, MODEL_BYTES)
    price, is_new = await gateway.pricing.prices.insert(row.to_domain(), actor)
    return json_response(_price_document(price), 201 if is_new else 200)


@for_managers
async def list_prices(gateway: Gateway, _request: Request, _: Actor) -> Response:
    """`GET /manage/prices`."""
    stored = await gateway.pricing.prices.list()
    damaged = [each.with_effect for each in stored.damaged]
    return list_response([_price_document(price) for price in stored.readable], damaged=damaged)


def _price_document(price: Price) -> dict[str, object]:
    """Render a row. But for its id, the document can be inserted again."""
    fields = _price_json.dump_python(price, mode="json", exclude={"is_ordered"})
    return {"price_id": price.price_id, **fields}
