"""When a delivery is tried again, and which events a sink wants."""

from __future__ import annotations

from dataclasses import replace
from datetime import timedelta, timezone

import pytest

from shared.domain.alerts.alert import AlertKind
from shared.domain.alerts.delivery import Delivery
from shared.domain.alerts.runbook import runbook_section
from shared.domain.alerts.severity import AlertSeverity
from shared.domain.alerts.sink import AlertSink, SinkId, SinkType
from tests.tools.alert_receivers import event
from tests.tools.ledgers import NOW

DELIVERY = Delivery(sink_id=SinkId("", "ops"), event=event(), attempts=1, due=NOW, stored_at=NOW, etag="1")
SINK = AlertSink(name="ops", type=SinkType.WEBHOOK)


@pytest.mark.parametrize(
    ("attempts", "seconds"), [(1, 5), (2, 300), (3, 1800), (4, 7200), (5, 18_000), (6, 36_000), (7, None)]
)
def test_the_waits_grow_and_the_seventh_failure_is_the_last(attempts: int, seconds: int | None) -> None:
    expected = None if seconds is None else NOW + timedelta(seconds=seconds)
    assert replace(DELIVERY, attempts=attempts).retry_at(NOW, 0) == expected


def test_a_sink_may_ask_for_a_longer_wait_of_at_most_twelve_hours() -> None:
    assert DELIVERY.retry_at(NOW, 60) == NOW + timedelta(seconds=60)
    assert DELIVERY.retry_at(NOW, 1) == NOW + timedelta(seconds=5)
    assert DELIVERY.retry_at(NOW, 10.0**9) == NOW + timedelta(hours=12)


def test_an_old_delivery_is_not_tried_again() -> None:
    assert DELIVERY.retry_at(NOW + timedelta(hours=48), 0) is not None
    assert DELIVERY.retry_at(NOW + timedelta(hours=48, seconds=1), 0) is None


def test_a_sink_of_the_platform_wants_the_alerts_of_all_and_one_of_a_tenant_its_own() -> None:
    of_acme, of_other, of_platform = event(), event(tenant="other"), event(tenant="")
    assert all(map(SINK.wants, (of_acme, of_other, of_platform)))
    acme = replace(SINK, tenant_id="acme")
    assert [*map(acme.wants, (of_acme, of_other, of_platform))] == [True, False, False]


def test_a_sink_wants_its_kinds_from_its_severity_on() -> None:
    warning, critical = event(), event(kind=AlertKind.POOL_DOWN)
    assert [*map(replace(SINK, kinds=("pool.down",)).wants, (warning, critical))] == [False, True]
    assert [*map(replace(SINK, minimum_severity=AlertSeverity.ERROR).wants, (warning, critical))] == [False, True]
    assert not replace(SINK, enabled=False).wants(critical)


def test_a_sink_wants_what_is_raised_after_it_was_put() -> None:
    put_again = replace(SINK, created_at=NOW.astimezone(timezone(timedelta(hours=2))))
    just_before, at_once = event(at=NOW - timedelta(milliseconds=1)), event()
    assert [*map(put_again.wants, (just_before, at_once))] == [False, True]
    assert replace(SINK, created_at=NOW + timedelta(microseconds=999)).wants(at_once)  # events tell milliseconds
    assert SINK.wants(just_before)


def test_each_kind_has_a_section_of_the_runbook() -> None:
    assert runbook_section("quota.threshold") == "budget-threshold"
    assert runbook_section("key.expires_soon") == runbook_section("a.later.kind") == "gateway-alert"
