"""The queries of the alert rules: they are Kusto, and name only what the gateway emits."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

import pytest

from shared.domain.alerts.alert import AlertKind
from shared.http.errors import INTERNAL_ERROR, MISCONFIGURED, STATUSES
from tests.infra.kusto_queries import ALERT_QUERIES, ROOT, Analysis, analyse
from tests.tools.bicep import BicepSources
from tests.tools.bicep_evaluation import evaluated

INSIGHTS = "/subscriptions/s/resourceGroups/g/providers/Microsoft.Insights/components/first"
GIVEN = {
    "location": "swedencentral",
    "tags": {},
    "workspaceId": "/subscriptions/s/resourceGroups/g/providers/Microsoft.OperationalInsights/workspaces/logs",
    "applicationInsightsId": INSIGHTS,
    "actionGroupId": "/subscriptions/s/resourceGroups/g/providers/Microsoft.Insights/actionGroups/people",
}


def deployed(**parameters: Any) -> dict[str, Mapping[str, Any]]:
    """Return the properties of the rules that the module makes, by the names that stand in the runbook."""
    template = evaluated(BicepSources(), "infra/modules/alert-rules.bicep", GIVEN | parameters)
    rules = template.of("Microsoft.Insights/scheduledQueryRules")
    return {each.properties["actions"]["customProperties"]["rule"]: each.properties for each in rules}


RULES = deployed()
SCOPED = '_ResourceId =~ "APPLICATION_INSIGHTS_ID"'


@pytest.fixture(scope="module")
def analyses() -> dict[str, Analysis]:
    return analyse(ALERT_QUERIES)


def test_each_rule_has_the_query_of_its_name_and_no_query_is_left_over() -> None:
    queries = {name: rule["criteria"]["allOf"][0]["query"] for name, rule in RULES.items()}
    assert queries == {
        name: query.replace("APPLICATION_INSIGHTS_ID", INSIGHTS) for name, query in ALERT_QUERIES.items()
    }


def test_a_rule_tells_the_action_group_and_names_its_section_of_the_runbook() -> None:
    rules = deployed(runbookUrl="https://example.com/runbook", disabledRules=["error-rate"])
    for name, rule in rules.items():
        assert rule["actions"]["actionGroups"] == [GIVEN["actionGroupId"]]
        link = f"https://example.com/runbook#{name}"
        assert rule["actions"]["customProperties"]["runbook"] == link
        assert rule["description"].endswith(link)
        assert rule["enabled"] == (name != "error-rate")
        assert rule["scopes"] == [GIVEN["workspaceId"]]
    assert all(f"section {name} of the runbook" in rule["description"] for name, rule in RULES.items())


@pytest.mark.parametrize("name", RULES)
def test_the_query_of_a_rule_has_no_diagnostics(analyses: dict[str, Analysis], name: str) -> None:
    assert analyses[name].diagnostics == []


@pytest.mark.parametrize("name", RULES)
def test_the_query_of_a_rule_reads_only_what_is_emitted(analyses: dict[str, Analysis], name: str) -> None:
    assert analyses[name].pipelines
    assert [each for pipeline in analyses[name].pipelines for each in pipeline.objections()] == []


@pytest.mark.parametrize("name", RULES)
def test_the_result_has_the_value_and_the_dimensions_of_the_rule(analyses: dict[str, Analysis], name: str) -> None:
    (condition,) = RULES[name]["criteria"]["allOf"]
    dimensions, columns = [each["name"] for each in condition["dimensions"]], analyses[name].columns
    assert list(columns) == [*dimensions, condition["metricMeasureColumn"]]
    assert columns["value"] in {"real", "long"}
    assert {columns[dimension] for dimension in dimensions} <= {"string"}


@pytest.mark.parametrize("name", RULES)
def test_a_rule_sees_only_the_gateway_that_it_was_made_for(analyses: dict[str, Analysis], name: str) -> None:
    assert ALERT_QUERIES[name].count(SCOPED) == len(analyses[name].pipelines)


def test_the_queries_compare_with_codes_of_errors_and_kinds_of_alerts(analyses: dict[str, Analysis]) -> None:
    read = [pipeline.texts for analysis in analyses.values() for pipeline in analysis.pipelines]
    reasons = {text for texts in read for text in texts.get("reason", [])}
    kinds = {text for texts in read for text in texts.get("gateway.alert.kind", []) + texts.get("alert", [])}
    assert reasons == {"no_backend_available", "ledger_unavailable", "unpriced_model"}
    assert reasons <= {code for _, code in STATUSES.values()}
    assert kinds <= {kind.value for kind in AlertKind}


def test_each_alert_of_the_gateway_is_told_by_one_rule(analyses: dict[str, Analysis]) -> None:
    told: list[str] = []
    for name, analysis in analyses.items():
        for pipeline in analysis.pipelines:
            if name != "gateway-alert":
                told += pipeline.texts.get("gateway.alert.kind", []) + pipeline.texts.get("alert", [])
    (others,) = analyses["gateway-alert"].pipelines
    assert sorted(told) == sorted(others.texts["alert"])


def test_rules_of_single_events_count_each_line_in_one_evaluation() -> None:
    for name, rule in RULES.items():
        counts_arrivals = "ingestion_time() > ago(5m)" in ALERT_QUERIES[name]
        assert counts_arrivals == (not rule["autoMitigate"]), name
        if counts_arrivals:
            assert (rule["evaluationFrequency"], rule["windowSize"]) == ("PT5M", "PT30M")


def test_a_query_that_names_what_does_not_exist_is_found() -> None:
    wrong = {
        "a column": "AppMetrics | where Nme == 'gateway.tokens'",
        "a function": "AppMetrics | where Name == 'gateway.tokens' | summarize median(Sum)",
        "a metric": "AppMetrics | where Name == 'gateway.token' | summarize sum(Sum)",
        "a dimension": "AppMetrics | where Name == 'gateway.tokens' | project tostring(Properties.region)",
        "an event": "AppTraces | where tostring(Properties['event.name']) == 'gateway.alerts' | count",
        "a field": "AppTraces | where tostring(Properties['event.name']) == 'gateway.alert' "
        "| project tostring(Properties['gateway.kind'])",
        "a sum that is averaged": "AppMetrics | where Name == 'gateway.tokens' | summarize avg(Sum)",
        "a gauge that is summed": "AppMetrics | where Name == 'gateway.reservations.open' | summarize sum(Sum)",
        "no name": "AppMetrics | summarize sum(Sum)",
        "a join": "AppMetrics | where Name == 'gateway.tokens' | project t = tostring(Properties.tenant) "
        "| join kind=inner (AppMetrics | where Name == 'gateway.failovers' "
        "| project t = tostring(Properties.tenant)) on t",
    }
    found = analyse(wrong)
    for name, analysis in found.items():
        objections = [each for pipeline in analysis.pipelines for each in pipeline.objections()]
        assert analysis.diagnostics or objections, name
    assert found["a join"].diagnostics == []


def test_the_page_lists_each_rule_with_its_severity() -> None:
    page = (ROOT / "docs" / "reference" / "monitoring.md").read_text()
    rows = re.findall(r"^\| `([\w-]+)` \| (\d) \|", page, re.MULTILINE)
    assert rows == [(name, str(rule["severity"])) for name, rule in RULES.items()]


def test_the_runbook_has_a_section_for_each_rule_that_tells_meaning_and_steps() -> None:
    page = (ROOT / "docs" / "guide" / "runbook.md").read_text("utf-8")
    sections = dict(re.findall(r"^## ([a-z-]+)\n(.*?)(?=^## |\Z)", page, re.MULTILINE | re.DOTALL))
    assert [*sections] == [*RULES]
    assert all("**Means.**" in text for text in sections.values())
    assert all("**Do.**" in text or "| do |" in text for text in sections.values())


def test_the_runbook_tells_what_to_do_about_each_code_of_5xx() -> None:
    page = (ROOT / "docs" / "guide" / "runbook.md").read_text("utf-8")
    section = page.partition("## error-rate\n")[2].partition("\n## ")[0]
    rows = [line.split(" | ")[0] for line in section.splitlines() if line.startswith("| `")]
    named = {code for row in rows for code in re.findall(r"`(\w+)`", row)}
    codes = {code for status, code in (*STATUSES.values(), INTERNAL_ERROR, MISCONFIGURED) if status >= 500}
    assert named == codes


def test_the_runbook_names_each_kind_of_alert_that_has_no_rule_of_its_own(analyses: dict[str, Analysis]) -> None:
    page = (ROOT / "docs" / "guide" / "runbook.md").read_text("utf-8")
    (others,) = analyses["gateway-alert"].pipelines
    with_rules = {AlertKind(kind) for kind in others.texts["alert"]}
    assert [kind for kind in {*AlertKind} - with_rules if f"`{kind}`" not in page] == []
