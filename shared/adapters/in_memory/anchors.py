"""Files of anchors in a dictionary."""

from __future__ import annotations

from collections.abc import AsyncIterator


class InMemoryAnchors:
    """Implements `AnchorStore` for one process."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}

    async def create(self, path: str, content: bytes) -> bool:
        if path in self.files:
            return False
        self.files[path] = content
        return True

    async def read(self, path: str) -> bytes | None:
        return self.files.get(path)

    async def names(self, folder: str) -> AsyncIterator[str]:
        for path in sorted(self.files):
            if path.startswith(f"{folder}/"):
                yield path
