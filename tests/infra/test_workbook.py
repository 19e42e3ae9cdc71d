"""The workbook has the form that Azure reads, and its queries name only what the gateway emits."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from shared.domain.telemetry.instruments import INSTRUMENTS
from tests.infra.kusto_queries import MONITORING, WORKBOOK, Analysis, analyse, items_of, with_values, workbook_queries
from tests.tools.bicep import BicepSources
from tests.tools.bicep_evaluation import evaluated

TEXT = (MONITORING / "workbook.json").read_text()
VERSIONS = {
    3: "KqlItem/1.0",
    9: "KqlParameterItem/1.0",
    11: "LinkItem/1.0",
    12: "NotebookGroup/1.0",
}
SCOPED = '_ResourceId =~ "APPLICATION_INSIGHTS_ID"'


ITEMS = list(items_of(WORKBOOK["items"]))
CHARTS = [item for item in ITEMS if item["type"] == 3]
PARAMETERS = [each for item in ITEMS if item["type"] == 9 for each in item["content"]["parameters"]]


@pytest.fixture(scope="module")
def analyses() -> dict[str, Analysis]:
    return analyse({name: with_values(query) for name, query in workbook_queries().items()})


@pytest.mark.parametrize("name", workbook_queries())
def test_a_query_has_no_diagnostics_and_reads_only_what_is_emitted(analyses: dict[str, Analysis], name: str) -> None:
    analysis = analyses[name]
    assert analysis.diagnostics == []
    assert analysis.pipelines
    assert [each for pipeline in analysis.pipelines for each in pipeline.objections()] == []


@pytest.mark.parametrize("name", workbook_queries())
def test_a_query_reads_only_the_gateway_of_the_workbook(analyses: dict[str, Analysis], name: str) -> None:
    assert workbook_queries()[name].count(SCOPED) == len(analyses[name].pipelines)


def test_every_parameter_of_a_query_exists() -> None:
    used = {
        name.split(":")[0] for query in workbook_queries().values() for name in re.findall(r"\{(\w+(?::\w+)?)\}", query)
    }
    assert used == {"Tenant", "Deployment", "TimeRange"}
    assert {each["name"] for each in PARAMETERS} == used


def test_every_instrument_is_shown() -> None:
    shown = " ".join(workbook_queries().values())
    assert [each.name for each in INSTRUMENTS if f'"{each.name}"' not in shown] == []


def test_a_figure_that_can_be_filtered_is() -> None:
    for name, query in workbook_queries().items():
        if name.startswith("parameter"):
            continue
        for dimension in ("tenant", "deployment"):
            shows = re.search(rf"by [^\n]*\b{dimension}\b", query) and f"Properties.{dimension}" in query
            if shows:
                assert f"in ({{{dimension.title()}}})" in query, (name, dimension)


@pytest.mark.parametrize("item", CHARTS, ids=lambda each: str(each["name"]))
def test_a_chart_has_its_columns_its_time_range_and_its_workspace(
    analyses: dict[str, Analysis], item: dict[str, Any]
) -> None:
    content, columns = item["content"], analyses[item["name"]].columns
    assert content["timeContextFromParameter"] == "TimeRange"
    assert content["resourceType"] == "microsoft.operationalinsights/workspaces"
    assert content["crossComponentResources"] == ["WORKSPACE_ID"]
    assert content["noDataMessage"]
    if content["visualization"] == "table":
        formatted = {each["columnMatch"].strip("^$") for each in content["gridSettings"]["formatters"]}
        assert formatted <= columns.keys()
    else:
        assert sorted(columns.values()) == ["datetime", "real", "string"][: len(columns)] or columns == {
            "TimeGenerated": "datetime",
            "open": "real",
        }


def test_items_are_of_kinds_that_azure_knows_and_have_names_of_their_own() -> None:
    names = [item["name"] for item in ITEMS]
    assert len(names) == len(set(names))
    for item in ITEMS:
        if item["type"] == 1:
            assert item["content"].keys() == {"json"}
        else:
            assert item["content"]["version"] == VERSIONS[item["type"]]
    assert WORKBOOK["version"] == "Notebook/1.0"
    ids = [each["id"] for each in PARAMETERS]
    assert len(ids) == len(set(ids))


def test_each_tab_shows_one_group() -> None:
    (tabs,) = [item for item in ITEMS if item["type"] == 11]
    links = [(link["cellValue"], link["subTarget"]) for link in tabs["content"]["links"]]
    groups = [item["conditionalVisibility"] for item in ITEMS if item["type"] == 12]
    assert links == [(each["parameterName"], each["value"]) for each in groups]


def test_the_module_writes_the_ids_of_one_gateway_into_the_workbook() -> None:
    insights = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Insights/components/first"
    workspace = "/subscriptions/s/resourceGroups/g/providers/Microsoft.OperationalInsights/workspaces/logs"
    given = {"location": "here", "tags": {}, "applicationInsightsId": insights, "workspaceId": workspace}
    (workbook,) = evaluated(BicepSources(), "infra/modules/workbook.bicep", given).of("Microsoft.Insights/workbooks")
    written = workbook.properties["serializedData"]
    assert "APPLICATION_INSIGHTS_ID" not in written
    assert "WORKSPACE_ID" not in written
    assert json.loads(written)["fallbackResourceIds"] == [insights]
    assert written.count(workspace) == TEXT.count("WORKSPACE_ID")
    assert workbook.properties["sourceId"] == insights
