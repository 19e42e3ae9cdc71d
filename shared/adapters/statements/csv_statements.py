"""Statements as CSV (RFC 4180), a row for each line of a tenant's statement. Stored files: the format never changes."""

from __future__ import annotations

import csv
import io
from typing import Final

from shared.domain.billing.statements import PeriodStatements, Statement, StatementLine
from shared.domain.pricing.money import usd, usd_of_cents

_COLUMNS: Final = (
    "period",
    "tenant_id",
    "tenant_name",
    "cost_center",
    "deployment",
    "model",
    "meter",
    "quantity",
    "cost_usd",
    "exact_cost_usd",
)
_FORMULA_STARTS: Final = ("=", "+", "-", "@", "\t", "\r")


class CsvStatements:
    """Implements `StatementRenderer`."""

    file_name: Final = "statements.csv"

    def render(self, statements: PeriodStatements) -> bytes:
        text = io.StringIO()
        writer = csv.writer(text, lineterminator="\r\n")
        writer.writerow(_COLUMNS)
        for bill in statements.statements:
            writer.writerows(_row(statements.period, bill, line) for line in bill.lines)
        return text.getvalue().encode()


def _row(period: str, bill: Statement, line: StatementLine) -> tuple[str | int, ...]:
    cells = (bill.tenant_id, bill.tenant_name, line.cost_center, line.deployment, line.model, line.meter)
    amounts = (line.quantity, usd_of_cents(line.cost_cents), usd(line.cost_pusd))
    return (period, *(not_a_formula(cell) for cell in cells), *amounts)


def not_a_formula(cell: str) -> str:
    """Spreadsheets run cells that start like a formula: https://owasp.org/www-community/attacks/CSV_Injection."""
    return f"'{cell}" if cell.startswith(_FORMULA_STARTS) else cell
