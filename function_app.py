"""Every route and timer of the gateway. Each function delegates in one line.

Every HTTP function is anonymous to the host and authenticates its caller itself: the host's function keys know no
tenants. The Functions worker reads the annotations: a `Request` in, a `Response` out, and no union of responses.
"""

import azure.functions as func
from azurefunctions.extensions.http.fastapi import Request, Response, web

from shared import timers, worker
from shared.composition import process
from shared.http import health, openapi, unknown_path
from shared.http.console import reference
from shared.http.inference import models, stored_responses
from shared.http.inference import routes as inference
from shared.http.management import (
    alerts,
    audit,
    backends,
    deployments,
    keys,
    periods,
    prices,
    status,
    tenants,
    usage,
    users,
)
from shared.http.tenant import me as tenant

worker.quiet_loggers()
worker.replace_web_server(web)
process.check_settings()
app = func.FunctionApp(http_auth_level=func.AuthLevel.ANONYMOUS)


@app.route("openai/deployments/{deployment}/chat/completions", methods=["POST"])
async def chat_completions(req: Request) -> Response:
    return await inference.dated("chat/completions", req)


@app.route("openai/v1/chat/completions", methods=["POST"])
async def chat_completions_v1(req: Request) -> Response:
    return await inference.v1("chat/completions", req)


@app.route("openai/deployments/{deployment}/completions", methods=["POST"])
async def completions(req: Request) -> Response:
    return await inference.dated("completions", req)


@app.route("openai/v1/completions", methods=["POST"])
async def completions_v1(req: Request) -> Response:
    return await inference.v1("completions", req)


@app.route("openai/deployments/{deployment}/embeddings", methods=["POST"])
async def embeddings(req: Request) -> Response:
    return await inference.dated("embeddings", req)


@app.route("openai/v1/embeddings", methods=["POST"])
async def embeddings_v1(req: Request) -> Response:
    return await inference.v1("embeddings", req)


@app.route("openai/deployments/{deployment}/images/generations", methods=["POST"])
async def images(req: Request) -> Response:
    return await inference.dated("images/generations", req)


@app.route("openai/v1/images/generations", methods=["POST"])
async def images_v1(req: Request) -> Response:
    return await inference.v1("images/generations", req)


@app.route("openai/deployments/{deployment}/audio/transcriptions", methods=["POST"])
async def transcriptions(req: Request) -> Response:
    return await inference.dated("audio/transcriptions", req)


@app.route("openai/v1/audio/transcriptions", methods=["POST"])
async def transcriptions_v1(req: Request) -> Response:
    return await inference.v1("audio/transcriptions", req)


@app.route("openai/deployments/{deployment}/audio/translations", methods=["POST"])
async def translations(req: Request) -> Response:
    return await inference.dated("audio/translations", req)


@app.route("openai/v1/audio/translations", methods=["POST"])
async def translations_v1(req: Request) -> Response:
    return await inference.v1("audio/translations", req)


@app.route("openai/deployments/{deployment}/audio/speech", methods=["POST"])
async def speech(req: Request) -> Response:
    return await inference.dated("audio/speech", req)


@app.route("openai/v1/audio/speech", methods=["POST"])
async def speech_v1(req: Request) -> Response:
    return await inference.v1("audio/speech", req)


@app.route("openai/responses", methods=["POST"])
async def create_response(req: Request) -> Response:
    return await inference.dated("responses", req)


@app.route("openai/responses/{response}", methods=["GET"])
async def get_response(req: Request) -> Response:
    return await stored_responses.dated(req)


@app.route("openai/responses/{response}", methods=["DELETE"])
async def delete_response(req: Request) -> Response:
    return await stored_responses.dated(req)


@app.route("openai/responses/{response}/cancel", methods=["POST"])
async def cancel_response(req: Request) -> Response:
    return await stored_responses.dated(req, "/cancel")


@app.route("openai/responses/{response}/input_items", methods=["GET"])
async def list_input_items(req: Request) -> Response:
    return await stored_responses.dated(req, "/input_items")


@app.route("openai/v1/responses", methods=["POST"])
async def create_response_v1(req: Request) -> Response:
    return await inference.v1("responses", req)


@app.route("openai/v1/responses/{response}", methods=["GET"])
async def get_response_v1(req: Request) -> Response:
    return await stored_responses.v1(req)


@app.route("openai/v1/responses/{response}", methods=["DELETE"])
async def delete_response_v1(req: Request) -> Response:
    return await stored_responses.v1(req)


@app.route("openai/v1/responses/{response}/cancel", methods=["POST"])
async def cancel_response_v1(req: Request) -> Response:
    return await stored_responses.v1(req, "/cancel")


@app.route("openai/v1/responses/{response}/input_items", methods=["GET"])
async def list_input_items_v1(req: Request) -> Response:
    return await stored_responses.v1(req, "/input_items")


@app.route("openai/models", methods=["GET"])
async def list_models(req: Request) -> Response:
    return await models.list_models(req)


@app.route("openai/v1/models", methods=["GET"])
async def list_models_v1(req: Request) -> Response:
    return await models.list_models(req)


@app.route("openai/v1/models/{model}", methods=["GET"])
async def get_model_v1(req: Request) -> Response:
    return await models.get_model(req)


@app.route("manage/tenants", methods=["GET"])
async def list_tenants(req: Request) -> Response:
    return await tenants.list_tenants(req)


@app.route("manage/tenants", methods=["POST"])
async def register_tenant(req: Request) -> Response:
    return await tenants.register_tenant(req)


@app.route("manage/tenants/{tenant}", methods=["GET"])
async def get_tenant(req: Request) -> Response:
    return await tenants.get_tenant(req)


@app.route("manage/tenants/{tenant}", methods=["PATCH"])
async def change_tenant(req: Request) -> Response:
    return await tenants.change_tenant(req)


@app.route("manage/tenants/{tenant}", methods=["DELETE"])
async def close_tenant(req: Request) -> Response:
    return await tenants.close_tenant(req)


@app.route("manage/tenants/{tenant}/suspend", methods=["POST"])
async def suspend_tenant(req: Request) -> Response:
    return await tenants.suspend_tenant(req)


@app.route("manage/tenants/{tenant}/resume", methods=["POST"])
async def resume_tenant(req: Request) -> Response:
    return await tenants.resume_tenant(req)


@app.route("manage/tenants/{tenant}/grants", methods=["POST"])
async def grant_to_tenant(req: Request) -> Response:
    return await tenants.grant_to_tenant(req)


@app.route("manage/tenants/{tenant}/keys", methods=["GET"])
async def list_keys(req: Request) -> Response:
    return await keys.list_keys(req)


@app.route("manage/tenants/{tenant}/keys", methods=["POST"])
async def create_key(req: Request) -> Response:
    return await keys.create_key(req)


@app.route("manage/tenants/{tenant}/keys/{key}", methods=["GET"])
async def get_key(req: Request) -> Response:
    return await keys.get_key(req)


@app.route("manage/tenants/{tenant}/keys/{key}", methods=["PATCH"])
async def change_key(req: Request) -> Response:
    return await keys.change_key(req)


@app.route("manage/tenants/{tenant}/keys/{key}/rotate", methods=["POST"])
async def rotate_key(req: Request) -> Response:
    return await keys.rotate_key(req)


@app.route("manage/tenants/{tenant}/keys/{key}", methods=["DELETE"])
async def revoke_key(req: Request) -> Response:
    return await keys.revoke_key(req)


@app.route("manage/tenants/{tenant}/users/lookup", methods=["POST"])
async def look_up_user(req: Request) -> Response:
    return await users.look_up_user(req)


@app.route("manage/tenants/{tenant}/users/erase", methods=["POST"])
async def erase_user(req: Request) -> Response:
    return await users.erase_user(req)


@app.route("manage/tenants/{tenant}/usage", methods=["GET"])
async def tenant_usage(req: Request) -> Response:
    return await usage.tenant_usage(req)


@app.route("manage/tenants/{tenant}/entries", methods=["GET"])
async def tenant_entries(req: Request) -> Response:
    return await usage.tenant_entries(req)


@app.route("manage/tenants/{tenant}/entries/{rid}/proof", methods=["GET"])
async def entry_proof(req: Request) -> Response:
    return await usage.entry_proof(req)


@app.route("manage/backends", methods=["GET"])
async def list_backends(req: Request) -> Response:
    return await backends.list_backends(req)


@app.route("manage/backends/{backend}", methods=["GET"])
async def get_backend(req: Request) -> Response:
    return await backends.get_backend(req)


@app.route("manage/backends/{backend}", methods=["PUT"])
async def put_backend(req: Request) -> Response:
    return await backends.put_backend(req)


@app.route("manage/backends/{backend}", methods=["DELETE"])
async def remove_backend(req: Request) -> Response:
    return await backends.remove_backend(req)


@app.route("manage/route", methods=["POST"])
async def explain_route(req: Request) -> Response:
    return await backends.explain_route(req)


@app.route("manage/deployments", methods=["GET"])
async def list_deployments(req: Request) -> Response:
    return await deployments.list_deployments(req)


@app.route("manage/deployments/{deployment}", methods=["GET"])
async def get_deployment(req: Request) -> Response:
    return await deployments.get_deployment(req)


@app.route("manage/deployments/{deployment}", methods=["PUT"])
async def put_deployment(req: Request) -> Response:
    return await deployments.put_deployment(req)


@app.route("manage/audit", methods=["GET"])
async def list_audit_events(req: Request) -> Response:
    return await audit.list_events(req)


@app.route("manage/audit/verify", methods=["GET"])
async def verify_audit_log(req: Request) -> Response:
    return await audit.verify_log(req)


@app.route("manage/audit/export", methods=["GET"])
async def export_audit_log(req: Request) -> Response:
    return await audit.export_log(req)


@app.route("manage/audit/holds/{period}", methods=["PUT"])
async def hold_audit_period(req: Request) -> Response:
    return await audit.hold_period(req)


@app.route("manage/audit/holds/{period}", methods=["DELETE"])
async def release_audit_period(req: Request) -> Response:
    return await audit.release_period(req)


@app.route("manage/prices", methods=["GET"])
async def list_prices(req: Request) -> Response:
    return await prices.list_prices(req)


@app.route("manage/prices", methods=["POST"])
async def insert_price(req: Request) -> Response:
    return await prices.insert_price(req)


@app.route("manage/periods", methods=["GET"])
async def list_periods(req: Request) -> Response:
    return await periods.list_periods(req)


@app.route("manage/periods/{period}/close", methods=["POST"])
async def close_period(req: Request) -> Response:
    return await periods.close_period(req)


@app.route("manage/chargeback/{period}/export", methods=["POST"])
async def export_period(req: Request) -> Response:
    return await periods.export_period(req)


@app.route("manage/status", methods=["GET"])
async def get_status(req: Request) -> Response:
    return await status.get_status(req)


@app.route("manage/alerts", methods=["GET"])
async def list_alerts(req: Request) -> Response:
    return await alerts.list_alerts(req)


@app.route("manage/alerts/test", methods=["POST"])
async def test_alerts(req: Request) -> Response:
    return await alerts.test_alerts(req)


@app.route("manage/alerts/sinks", methods=["GET"])
async def list_sinks(req: Request) -> Response:
    return await alerts.list_sinks(req)


@app.route("manage/alerts/sinks/{sink}", methods=["GET"])
async def get_sink(req: Request) -> Response:
    return await alerts.get_sink(req)


@app.route("manage/alerts/sinks/{sink}", methods=["PUT"])
async def put_sink(req: Request) -> Response:
    return await alerts.put_sink(req)


@app.route("manage/alerts/sinks/{sink}", methods=["DELETE"])
async def remove_sink(req: Request) -> Response:
    return await alerts.remove_sink(req)


@app.route("manage/alerts/sinks/{sink}/redeliver", methods=["POST"])
async def redeliver(req: Request) -> Response:
    return await alerts.redeliver(req)


@app.route("manage/tenants/{tenant}/alerts", methods=["GET"])
async def list_tenant_alerts(req: Request) -> Response:
    return await alerts.list_tenant_alerts(req)


@app.route("manage/tenants/{tenant}/alerts/sinks", methods=["GET"])
async def list_tenant_sinks(req: Request) -> Response:
    return await alerts.list_tenant_sinks(req)


@app.route("manage/tenants/{tenant}/alerts/sinks/{sink}", methods=["GET"])
async def get_tenant_sink(req: Request) -> Response:
    return await alerts.get_tenant_sink(req)


@app.route("manage/tenants/{tenant}/alerts/sinks/{sink}", methods=["PUT"])
async def put_tenant_sink(req: Request) -> Response:
    return await alerts.put_tenant_sink(req)


@app.route("manage/tenants/{tenant}/alerts/sinks/{sink}", methods=["DELETE"])
async def remove_tenant_sink(req: Request) -> Response:
    return await alerts.remove_tenant_sink(req)


@app.route("manage/tenants/{tenant}/alerts/sinks/{sink}/redeliver", methods=["POST"])
async def redeliver_of_tenant(req: Request) -> Response:
    return await alerts.redeliver_of_tenant(req)


@app.route("me", methods=["GET"])
async def me(req: Request) -> Response:
    return await tenant.me(req)


@app.route("me/usage", methods=["GET"])
async def my_usage(req: Request) -> Response:
    return await tenant.my_usage(req)


@app.route("me/entries", methods=["GET"])
async def my_entries(req: Request) -> Response:
    return await tenant.my_entries(req)


@app.route("me/entries/{rid}/proof", methods=["GET"])
async def my_entry_proof(req: Request) -> Response:
    return await tenant.my_entry_proof(req)


@app.route("me/alerts", methods=["GET"])
async def my_alerts(req: Request) -> Response:
    return await tenant.my_alerts(req)


@app.route("healthz", methods=["GET"])
async def healthz(req: Request) -> Response:
    return await health.healthz(req)


@app.route("readyz", methods=["GET"])
async def readyz(req: Request) -> Response:
    return await health.readyz(req)


@app.route("reference", methods=["GET"])
async def reference_page(req: Request) -> Response:
    return await reference.reference(req)


@app.route("reference/openapi.json", methods=["GET"])
async def openapi_document(req: Request) -> Response:
    return await openapi.openapi(req)


# The host matches routes in the order of their functions' names: the name of this one must be the last.
@app.route("{*path}", methods=[method.value for method in func.HttpMethod])
async def zz_anything_else(req: Request) -> Response:
    return await unknown_path.unknown_path(req)


@app.timer_trigger(schedule="0 0 * 1,25-31 * *", arg_name="timer")
async def reset_monthly_quotas(timer: func.TimerRequest) -> None:
    await timers.reset_monthly_quotas(past_due=timer.past_due)


@app.timer_trigger(schedule="0 */10 2 * * *", arg_name="timer")
async def export_chargeback(timer: func.TimerRequest) -> None:
    await timers.export_chargeback(past_due=timer.past_due)


@app.timer_trigger(schedule="0 * * * * *", arg_name="timer")
async def expire_reservations(timer: func.TimerRequest) -> None:
    await timers.expire_reservations(past_due=timer.past_due)


@app.timer_trigger(schedule="30 * * * * *", arg_name="timer")
async def level_lanes(timer: func.TimerRequest) -> None:
    await timers.level_lanes(past_due=timer.past_due)


@app.timer_trigger(schedule="15 * * * * *", arg_name="timer")
async def settle_background_responses(timer: func.TimerRequest) -> None:
    await timers.settle_background_responses(past_due=timer.past_due)


@app.timer_trigger(schedule="0 3-59/5 * * * *", arg_name="timer")
async def reconcile_limits(timer: func.TimerRequest) -> None:
    await timers.reconcile_limits(past_due=timer.past_due)


@app.timer_trigger(schedule="45 * * * * *", arg_name="timer")
async def chain_audit(timer: func.TimerRequest) -> None:
    await timers.chain_audit(past_due=timer.past_due)


@app.timer_trigger(schedule="0 */5 * * * *", arg_name="timer")
async def roll_up_usage(timer: func.TimerRequest) -> None:
    await timers.roll_up_usage(past_due=timer.past_due)


@app.timer_trigger(schedule="0 1-59/5 * * * *", arg_name="timer")
async def anchor_audit(timer: func.TimerRequest) -> None:
    await timers.anchor_audit(past_due=timer.past_due)


@app.timer_trigger(schedule="40 4-59/5 * * * *", arg_name="timer")
async def report_health(timer: func.TimerRequest) -> None:
    await timers.report_health(past_due=timer.past_due)


@app.timer_trigger(schedule="20 20 * * * *", arg_name="timer")
async def verify_books(timer: func.TimerRequest) -> None:
    await timers.verify_books(past_due=timer.past_due)


@app.timer_trigger(schedule="10 50 * * * *", arg_name="timer")
async def describe_tenants(timer: func.TimerRequest) -> None:
    await timers.describe_tenants(past_due=timer.past_due)


@app.timer_trigger(schedule="20 * * * * *", arg_name="timer")
async def deliver_alerts(timer: func.TimerRequest) -> None:
    await timers.deliver_alerts(past_due=timer.past_due)


@app.timer_trigger(schedule="30 2-59/5 * * * *", arg_name="timer")
async def watch_budgets(timer: func.TimerRequest) -> None:
    await timers.watch_budgets(past_due=timer.past_due)


@app.timer_trigger(schedule="50 35 * * * *", arg_name="timer")
async def watch_spending(timer: func.TimerRequest) -> None:
    await timers.watch_spending(past_due=timer.past_due)
