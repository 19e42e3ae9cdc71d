"""The readable page of an evidence package: one HTML file without scripts and without anything from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape

from shared.application.ports.evidence import PackageFacts
from shared.domain.billing.statements import PeriodStatements, Statement
from shared.domain.pricing.money import usd_of_cents

_STYLE = """
:root{--ink:#1b2430;--soft:#5c6b7c;--line:#dfe5ec;--tint:#f4f7fa;--accent:#0b6e6e}
*{box-sizing:border-box}
body{margin:0;background:#fff;color:var(--ink);font:15px/1.55 system-ui,"Segoe UI",Roboto,Helvetica,Arial,sans-serif}
main{max-width:60rem;margin:0 auto;padding:2.5rem 1.5rem 4rem}
header{border-bottom:3px solid var(--accent);padding-bottom:1.2rem;margin-bottom:1.8rem}
h1{font-size:1.9rem;line-height:1.2;margin:0 0 .3rem}
h2{font-size:1.25rem;margin:2.4rem 0 .7rem}
p{margin:.4rem 0 .8rem;max-width:46rem}
.soft{color:var(--soft)}
.cards{display:grid;grid-template-columns:repeat(auto-fit,minmax(11rem,1fr));gap:.8rem;margin:1.2rem 0}
.card{background:var(--tint);border:1px solid var(--line);border-radius:.5rem;padding:.8rem 1rem}
.card b{display:block;font-size:1.35rem;font-variant-numeric:tabular-nums}
table{border-collapse:collapse;width:100%;margin:.6rem 0 1.2rem;font-size:.93rem}
th,td{padding:.45rem .7rem;border-bottom:1px solid var(--line);text-align:left;vertical-align:top}
th{color:var(--soft);font-weight:600;background:var(--tint)}
td.n,th.n{text-align:right;font-variant-numeric:tabular-nums;white-space:nowrap}
tfoot td{font-weight:700;border-top:2px solid var(--ink);border-bottom:0}
code,pre{font:13px/1.5 ui-monospace,Consolas,Menlo,monospace}
pre{background:var(--tint);border:1px solid var(--line);border-radius:.5rem;padding:.8rem 1rem;overflow-x:auto}
li{margin:.25rem 0}
@media print{main{padding:0}h2{break-after:avoid}tr{break-inside:avoid}}
"""
_PROVED = (
    "No entry that was anchored was changed, removed, inserted or moved.",
    "No tenant and no month that was anchored is missing.",
    "Costs, balances and statements are those of the entries, to the cent.",
    "The log of anchors was only appended to.",
)
_NOT_PROVED = (
    "That an entry was true when it was made. Compare with the bills of Azure.",
    "Entries since the newest anchor.",
    "That the signer keeps no second log. Compare a checkpoint with that of a witness.",
)


class SummaryPage:
    """Implements `SummaryRenderer`."""

    def render(
        self,
        package: PackageFacts,
        periods: Sequence[tuple[str, PeriodStatements | None]],
        leaves: int,
        checkpoint: str,
        events: Sequence[tuple[str, int]],
    ) -> bytes:
        """Render the page. The same facts give the same bytes."""
        title = f"Evidence {_span(package.periods)}"
        parts = [
            f"<header><h1>{escape(title)}</h1>",
            f"<p class=soft>{escape(_scope(package, periods))}</p></header>",
            *_cards(periods, leaves, events),
            *(part for period, statements in periods for part in _period(period, statements)),
            *_proofs(package, leaves, checkpoint),
        ]
        head = f'<meta charset="utf-8"><title>{escape(title)}</title><meta name=viewport content="width=device-width">'
        body = "\n".join(parts)
        page = f"<!doctype html>\n<html lang=en><head>{head}<style>{_STYLE}</style></head>\n<body><main>\n{body}\n"
        return f"{page}</main></body></html>\n".encode()


def _span(periods: Sequence[str]) -> str:
    return periods[0] if len(periods) == 1 else f"{periods[0]} to {periods[-1]}" if periods else "of no period"


def _scope(package: PackageFacts, periods: Sequence[tuple[str, PeriodStatements | None]]) -> str:
    log = f"Log of anchors: {package.origin or 'none'}"
    if package.tenant is None:
        return f"All tenants. {log}"
    bills = [bill for _, statements in periods if statements for bill in statements.statements]
    name = f"{bills[-1].tenant_name} ({package.tenant})" if bills else package.tenant
    return f"Tenant {name}. {log}"


def _cards(
    periods: Sequence[tuple[str, PeriodStatements | None]], leaves: int, events: Sequence[tuple[str, int]]
) -> Iterator[str]:
    final = [statements for _, statements in periods if statements]
    bills = [bill for statements in final for bill in statements.statements]
    figures = [("Signed anchors", _number(leaves))]
    if final:  # a period without statements has entries, but no bills to add up
        figures = [
            ("Total", f"{usd_of_cents(sum(each.cost_cents for each in final))} USD"),
            ("Tokens", _number(sum(bill.tokens_used for bill in bills))),
            ("Requests", _number(sum(bill.requests for bill in bills))),
            ("Ledger entries", _number(sum(bill.entries for bill in bills))),
            *figures,
        ]
    if events:
        figures.append(("Audit events", _number(sum(count for _, count in events))))
    yield "<div class=cards>"
    yield from (f"<div class=card><b>{value}</b>{name}</div>" for name, value in figures)
    yield "</div>"


def _period(period: str, statements: PeriodStatements | None) -> Iterator[str]:
    yield f"<h2>{escape(period)}</h2>"
    if statements is None:
        yield "<p>This period has no final statement yet. Its entries are in the package.</p>"
        return
    yield f"<p class=soft>Closed {escape(statements.closed_at)}. All amounts are in US dollars.</p>"
    yield "<table><thead><tr><th>Tenant<th>Cost center<th class=n>Requests<th class=n>Tokens<th class=n>Cost</thead>"
    yield "<tbody>"
    yield from map(_bill, statements.statements)
    yield f"</tbody><tfoot><tr><td colspan=4>Total<td class=n>{usd_of_cents(statements.cost_cents)}</tfoot></table>"
    yield "<table><thead><tr><th>Cost center<th class=n>Cost</thead><tbody>"
    for name, amount in statements.cost_centers.items():
        yield f"<tr><td>{escape(name) or '(none)'}<td class=n>{usd_of_cents(amount)}"
    yield "</tbody></table>"


def _bill(bill: Statement) -> str:
    name = f"{escape(bill.tenant_name)}<br><span class=soft>{escape(bill.tenant_id)}</span>"
    numbers = f"<td class=n>{_number(bill.requests)}<td class=n>{_number(bill.tokens_used)}"
    return f"<tr><td>{name}<td>{escape(bill.cost_center)}{numbers}<td class=n>{usd_of_cents(bill.cost_cents)}"


def _proofs(package: PackageFacts, leaves: int, checkpoint: str) -> Iterator[str]:
    yield "<h2>What this package proves</h2>"
    yield "<p>This page proves nothing by itself. Run the command below with the public key of the gateway, which you "
    yield "got over a way that you trust. If it says that everything holds, then:</p>"
    yield f"<ul>{''.join(f'<li>{escape(each)}' for each in _PROVED)}</ul>"
    yield "<pre>tallygate verify --archive evidence.zip --public-key key.pem</pre>"
    yield "<h2>What it does not prove</h2>"
    yield f"<ul>{''.join(f'<li>{escape(each)}' for each in _NOT_PROVED)}</ul>"
    yield "<h2>Newest checkpoint</h2>"
    if not checkpoint:
        yield "<p>There is none.</p>"
        return
    yield f"<p>The log {escape(package.origin)} has {_number(leaves)} leaves.</p>"
    yield f"<pre>{escape(checkpoint)}</pre>"


def _number(value: int) -> str:
    return f"{value:,}"
