"""Sample statements with unusual values: no quota, quotes, other scripts, formulas, negative amounts."""

from __future__ import annotations

from typing import Final

from shared.domain.billing.statements import Statement, StatementLine

CLOSED_AT: Final = "2026-12-03T02:00:00.000Z"
_ACME: Final = Statement(
    tenant_id="acme",
    tenant_name='=Acme, "Größe" & 株式会社\n',
    cost_center="CC-1",
    tags={"team": "blue", "owner": "Zoë"},
    requests=3,
    failed_requests=1,
    tokens_used=51,
    quota_tokens=1000,
    budget_pusd=5 * 10**12,
    estimated_tokens=17,
    content_filter_flags=2,
    cost_pusd=1_234_567_890_001,
    cost_cents=123,
    chain_heads={"00": "a" * 64, "01": "b" * 64},
    entries=7,
    lines=(
        StatementLine(
            cost_center="CC-1",
            deployment="-gpt-4o",
            model="gpt-4o",
            meter="input",
            quantity=24,
            cost_pusd=60_000_000,
            cost_cents=0,
        ),
        StatementLine(
            cost_center="=CC-2",
            deployment="@draw",
            model="dall-e-3",
            meter="images hd 1024x1792",
            quantity=10,
            cost_pusd=1_234_507_890_001,
            cost_cents=123,
        ),
    ),
)
_BOLT: Final = Statement(
    tenant_id="bolt",
    tenant_name="bolt",
    cost_center="",
    tags={},
    requests=0,
    failed_requests=0,
    tokens_used=0,
    quota_tokens=None,
    budget_pusd=None,
    estimated_tokens=0,
    content_filter_flags=0,
    cost_pusd=-10_000_000_001,
    cost_cents=-1,
    chain_heads={"00": "c" * 64},
    entries=2,
    lines=(
        StatementLine(
            cost_center="",
            deployment="gpt-4o",
            model="gpt-4o",
            meter="output",
            quantity=-1,
            cost_pusd=-10_000_000_001,
            cost_cents=-1,
        ),
    ),
)
_IDLE: Final = Statement(
    tenant_id="idle",
    tenant_name="\tIdle",
    cost_center="+CC",
    tags={},
    requests=0,
    failed_requests=0,
    tokens_used=0,
    quota_tokens=0,
    budget_pusd=0,
    estimated_tokens=0,
    content_filter_flags=0,
    cost_pusd=0,
    cost_cents=0,
    chain_heads={"00": "d" * 64},
    entries=1,
    lines=(),
)
STATEMENTS: Final = (_ACME, _BOLT, _IDLE)
