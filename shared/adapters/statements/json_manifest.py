"""The manifest as JSON. Stored files: names, order and types of fields never change."""

from __future__ import annotations

from typing import Final

import msgspec

from shared.adapters.statements.documents import read_document, write_document
from shared.domain.billing.manifest import Manifest, StatementFile
from shared.domain.pricing.money import parse_cents, usd_of_cents

MANIFEST: Final = "manifest.json"


class _File(msgspec.Struct):
    name: str
    sha256: str
    bytes: int


class _Document(msgspec.Struct):
    period: str
    files: list[_File]
    total_cost_usd: str
    total_tokens: int
    total_entries: int
    chain_heads: dict[str, str]


class JsonManifest:
    """Implements `ManifestFormat`."""

    file_name: Final = MANIFEST

    def render(self, manifest: Manifest) -> bytes:
        document = _Document(
            period=manifest.period,
            files=[_File(name=each.name, sha256=each.sha256, bytes=each.size_bytes) for each in manifest.files],
            total_cost_usd=usd_of_cents(manifest.cost_cents),
            total_tokens=manifest.tokens,
            total_entries=manifest.entries,
            chain_heads=dict(manifest.chain_heads),
        )
        return write_document(document)

    def read(self, content: bytes) -> Manifest:
        document = read_document(content, _Document)
        return Manifest(
            period=document.period,
            files=tuple(StatementFile(each.name, each.sha256, each.bytes) for each in document.files),
            cost_cents=parse_cents(document.total_cost_usd),
            tokens=document.total_tokens,
            entries=document.total_entries,
            chain_heads=document.chain_heads,
        )
