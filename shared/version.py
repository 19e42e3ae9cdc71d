"""The version of the product. pyproject.toml states it, too, but is not deployed; a test compares them."""

from __future__ import annotations

from typing import Final

VERSION: Final = "0.1.0"
