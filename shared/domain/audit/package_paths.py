"""The names of the files in an evidence package (docs/reference/formats.md)."""

from __future__ import annotations

from typing import Final

MANIFEST: Final = "manifest.json"
SUMMARY: Final = "summary.html"
HEAD_PROOFS: Final = "proofs/heads.jsonl"
DOCUMENTS: Final = "documents.jsonl"
CONFIGURATION: Final = "configuration.jsonl"
ANCHORS: Final = "anchors"
STATEMENTS: Final = "statements"
AUDIT: Final = "audit"
PERIODS: Final = "periods"
