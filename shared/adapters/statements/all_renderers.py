"""The formats in which every period's statements are written, in the order in which the manifest names them."""

from __future__ import annotations

from typing import Final

from shared.adapters.statements.csv_statements import CsvStatements
from shared.adapters.statements.json_statements import JsonStatements
from shared.application.ports.billing import StatementRenderer

RENDERERS: Final[tuple[StatementRenderer, ...]] = (JsonStatements(), CsvStatements())
