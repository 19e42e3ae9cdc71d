"""The canonical JSON of the audit chain: the bytes of `canonical` in the domain, at a tenth of the cost (ADR 12)."""

from __future__ import annotations

from typing import Final

import msgspec

encode_canonical: Final = msgspec.json.Encoder(order="deterministic").encode
