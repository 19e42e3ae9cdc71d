"""Every setting and every error code is in its document."""

from __future__ import annotations

from pathlib import Path

from shared.http.errors import INTERNAL_ERROR, MISCONFIGURED, STATUSES
from shared.settings import Settings

DOCS = Path(__file__).resolve().parents[2] / "docs"


def missing(names: set[str], document: str) -> list[str]:
    """Return the names that the document with this file name does not have between backticks."""
    (path,) = DOCS.rglob(document)
    text = path.read_text()
    return sorted(name for name in names if f"`{name}`" not in text)


def test_every_setting_is_documented() -> None:
    names = {str(field.validation_alias or name.upper()) for name, field in Settings.model_fields.items()}
    assert missing(names, "configuration.md") == []


def test_every_error_code_is_documented() -> None:
    assert missing({code for _, code in [*STATUSES.values(), INTERNAL_ERROR, MISCONFIGURED]}, "errors.md") == []
