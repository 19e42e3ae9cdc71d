"""Index a function app as the Python worker does, and refuse at start what the worker refuses."""

from __future__ import annotations

import importlib
import inspect
import json
import typing
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import azure.functions as func
from azurefunctions.extensions.base import RequestTrackerMeta, ResponseTrackerMeta

DEFAULT_ROUTE_PREFIX = "api"
ANONYMOUS = "anonymous"


class FunctionLoadError(Exception):
    """The real worker would not load the app either."""


@dataclass(frozen=True, slots=True)
class HttpFunction:
    name: str
    route: str
    methods: frozenset[str]
    auth_level: str
    handler: Callable[..., Any]
    parameter: str


@dataclass(frozen=True, slots=True)
class TimerFunction:
    name: str
    schedule: str
    run_on_startup: bool
    handler: Callable[..., Any]
    parameter: str


def load_app(module_name: str) -> func.FunctionApp:
    """The one function app of a module."""
    module = importlib.import_module(module_name)
    apps = [value for value in vars(module).values() if isinstance(value, func.FunctionApp)]
    if len(apps) != 1:
        raise FunctionLoadError(f"{module_name} must define exactly one top-level FunctionApp, not {len(apps)}.")
    return apps[0]


def index(app: func.FunctionApp, route_prefix: str) -> tuple[list[HttpFunction], list[TimerFunction]]:
    """The functions of an app; HTTP functions in the order in which the host matches them, which is by name."""
    http: list[HttpFunction] = []
    timers: list[TimerFunction] = []
    for function in app.get_functions():
        name, handler = str(function.get_function_name()), function.get_user_function()
        trigger = function.get_trigger()
        if trigger is None:
            raise FunctionLoadError(f"cannot load the {name} function: it has no trigger")
        fields = trigger.get_dict_repr()
        hints = typing.get_type_hints(handler)
        _require_parameters(name, handler, str(fields["name"]))
        if fields["type"] == "httpTrigger":
            _require_http_annotations(name, hints, fields["name"])
            methods = frozenset(_value(method) for method in fields.get("methods") or ())
            route = "/".join(part for part in (route_prefix, fields.get("route") or name) if part)
            http.append(
                HttpFunction(name, route, methods, _value(fields["authLevel"]).lower(), handler, fields["name"])
            )
        elif fields["type"] == "timerTrigger":
            _require_timer_annotation(name, hints, fields["name"])
            timers.append(
                TimerFunction(name, fields["schedule"], bool(fields.get("runOnStartup")), handler, fields["name"])
            )
        else:
            raise FunctionLoadError(f"cannot load the {name} function: {fields['type']} is not served locally")
    return sorted(http, key=lambda function: function.name.lower()), timers


def route_prefix_of(host_json: Path) -> str:
    """`extensions.http.routePrefix` of host.json, `api` if it is not set."""
    settings = json.loads(host_json.read_text()) if host_json.exists() else {}
    prefix = settings.get("extensions", {}).get("http", {}).get("routePrefix", DEFAULT_ROUTE_PREFIX)
    return str(prefix).strip("/")


def _require_parameters(name: str, handler: Callable[..., Any], trigger_parameter: str) -> None:
    parameters = set(inspect.signature(handler).parameters) - {"context"}
    if parameters != {trigger_parameter}:
        raise FunctionLoadError(
            f"cannot load the {name} function: parameters {sorted(parameters)} do not match binding {trigger_parameter}"
        )


def _require_http_annotations(name: str, hints: dict[str, Any], parameter: str) -> None:
    """The worker checks every HTTP function against the types of the extension, once one of them uses it."""
    if parameter in hints and not RequestTrackerMeta.check_type(hints[parameter]):
        raise FunctionLoadError(
            f"cannot load the {name} function: type of {parameter} binding does not match its Python annotation"
        )
    if "return" in hints:
        if not isinstance(hints["return"], type):
            raise FunctionLoadError(f"cannot load the {name} function: has invalid non-type return annotation")
        if not ResponseTrackerMeta.check_type(hints["return"]):
            raise FunctionLoadError(
                f"cannot load the {name} function: Python return annotation does not match binding type http"
            )


def _require_timer_annotation(name: str, hints: dict[str, Any], parameter: str) -> None:
    annotation = hints.get(parameter, func.TimerRequest)
    if not (isinstance(annotation, type) and issubclass(annotation, func.TimerRequest)):
        raise FunctionLoadError(
            f"cannot load the {name} function: type of {parameter} binding does not match its Python annotation"
        )
    if hints.get("return") not in (None, type(None)):
        raise FunctionLoadError(f"cannot load the {name} function: it has no $return binding")


def _value(member: Any) -> str:
    return str(getattr(member, "value", member))
