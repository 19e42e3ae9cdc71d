"""Find the files in an evidence package that no check reads, so that nobody takes them for evidence."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from shared.adapters.on_disk.evidence_package import EvidencePackage
from shared.adapters.statements.json_manifest import MANIFEST as STATEMENT_MANIFEST
from shared.adapters.statements.json_manifest import JsonManifest
from shared.domain.audit.anchor_files import CHECKPOINTS, HEADS, LEAVES
from shared.domain.audit.package_paths import (
    ANCHORS,
    AUDIT,
    CONFIGURATION,
    DOCUMENTS,
    HEAD_PROOFS,
    MANIFEST,
    PERIODS,
    STATEMENTS,
    SUMMARY,
)

_OF_LOG: Final = rf"{ANCHORS}/(?:{LEAVES}/\d{{10}}\.json|{CHECKPOINTS}/(?!0{{10}})\d{{10}})"
_OF_ALL: Final = rf"{ANCHORS}/{HEADS}/\d{{10}}\.json|{AUDIT}/\d{{4}}-\d{{2}}\.jsonl|{re.escape(DOCUMENTS)}"
_ONE_TENANT: Final = re.compile(rf"{_OF_LOG}|{re.escape(HEAD_PROOFS)}", re.ASCII)
_ALL_TENANTS: Final = re.compile(rf"{_OF_LOG}|{_OF_ALL}", re.ASCII)


def strange_files(package: EvidencePackage) -> Iterator[str]:
    """Yield the names of files that do not belong into a package, sorted."""
    numbered = _ALL_TENANTS if package.facts.tenant is None else _ONE_TENANT
    named = {MANIFEST, CONFIGURATION, SUMMARY}
    for period in package.facts.periods:
        named |= {f"{PERIODS}/{period}.gz", *_statement_files(package, f"{STATEMENTS}/{period}")}
    yield from sorted(name for name in package.names if name not in named and not numbered.fullmatch(name))


def _statement_files(package: EvidencePackage, folder: str) -> Iterator[str]:
    content = package.read(f"{folder}/{STATEMENT_MANIFEST}")
    if content is None:
        return
    yield f"{folder}/{STATEMENT_MANIFEST}"
    try:
        yield from (f"{folder}/{file.name}" for file in JsonManifest().read(content).files)
    except ValueError:
        return  # which is a finding of its own
