"""Rows of a workspace, as Azure makes them of what a gateway has exported to the emulated ingestion endpoint."""

from __future__ import annotations

from datetime import datetime
from typing import Any, Final

from local.emulators.ingestion import Ingestion
from tests.infra.kusto_queries import Rows

RESOURCE: Final = "/subscriptions/s/components/here"


def rows_of(ingestion: Ingestion) -> dict[str, Rows]:
    """Return the rows of the tables that queries read.

    https://learn.microsoft.com/azure/azure-monitor/reference/tables/appmetrics, and its neighbours
    """
    tables: dict[str, Rows] = {"AppMetrics": [], "AppTraces": []}
    for envelope in ingestion.envelopes:
        kind, data = envelope["data"]["baseType"], envelope["data"]["baseData"]
        common = {
            "TimeGenerated": _milliseconds(envelope["time"]),
            "_ResourceId": RESOURCE,
            "Properties": data.get("properties", {}),
        }
        if kind == "MetricData":
            (point,) = data["metrics"]
            figures = {"Name": point["name"], "Sum": point["value"], "ItemCount": point.get("count", 1)}
            tables["AppMetrics"].append({**common, **figures})
        elif kind == "MessageData":
            told = {"Message": data["message"], "SeverityLevel": data["severityLevel"]}
            tables["AppTraces"].append({**common, **told})
    return tables


def _milliseconds(time: Any) -> int:
    return int(datetime.fromisoformat(str(time)).timestamp() * 1000)
