"""The state of the gateway itself as documents in the table `health`."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Final, Generic, TypeVar

from pydantic import ValidationError

from shared.adapters.documents.codec import from_json, to_json
from shared.adapters.documents.store import Documents, key_of, name_of
from shared.domain.values import field_names

T = TypeVar("T")
_TABLE: Final = "health"


class DocumentStates(Generic[T]):
    """Implements `States` for one kind of things, with a partition of its own."""

    def __init__(self, documents: Documents, partition: str, kind: type[T]) -> None:
        self._documents = documents
        self._partition = partition
        self._kind = kind

    async def note(self, name: str, state: T) -> None:
        await self._documents.put(_TABLE, self._partition, key_of(name), to_json(state))

    async def get(self, name: str) -> T | None:
        document = await self._documents.get(_TABLE, self._partition, key_of(name))
        return self._read(document.text) if document else None

    async def all(self) -> Mapping[str, T]:
        found = await self._documents.list(_TABLE, partition=self._partition)
        ours = [each for each in found if key_of(name_of(each.key)) == each.key]  # something else may write other keys
        read = {name_of(each.key): self._read(each.text) for each in ours}
        return {name: state for name, state in read.items() if state is not None}

    async def forget(self, name: str) -> None:
        await self._documents.remove(_TABLE, self._partition, key_of(name))

    def _read(self, text: str) -> T | None:
        """Read a state; `None` if it is damaged. An operator may have edited it; the next state replaces it."""
        try:
            state = from_json(self._kind, text)
        except ValidationError:
            return None
        return None if has_unusable_time(state) else state


def has_unusable_time(state: object) -> bool:
    """Tell whether a time of a state names no zone, so that it cannot be compared, or has no equal in UTC."""
    times = [each for each in (getattr(state, name) for name in field_names(type(state))) if isinstance(each, datetime)]
    try:
        return any(each.tzinfo is None or each.astimezone(UTC) != each for each in times)
    except OverflowError:
        return True
