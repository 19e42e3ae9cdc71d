"""Wire the use cases that tell the state of the gateway itself."""

from __future__ import annotations

from dataclasses import dataclass

from shared.adapters.azure_openai.probe import OpenAIProbe
from shared.adapters.documents.health import DocumentStates
from shared.application.health.check_readiness import CheckReadiness
from shared.application.health.run_timer import RunTimer
from shared.composition.adapters import Adapters
from shared.domain.health.timer_run import TimerRun


@dataclass(frozen=True, slots=True, kw_only=True)
class Health:
    """The use cases that check the gateway's own parts, and that run and watch its timers."""

    readiness: CheckReadiness
    run_timer: RunTimer


def wire_health(adapters: Adapters) -> Health:
    """Make the use cases of the gateway's own state."""
    clock, instance = adapters.clock, adapters.settings.website_instance_id
    probe = OpenAIProbe(adapters.tokens, adapters.backend_keys)
    runs = DocumentStates(adapters.documents, "timers", TimerRun)
    return Health(
        readiness=CheckReadiness(adapters.ledger, adapters.catalog, probe, clock),
        run_timer=RunTimer(runs, clock, instance),
    )
