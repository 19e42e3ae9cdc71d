"""A table service that takes requests and never answers."""

from __future__ import annotations

import asyncio
from contextlib import AsyncExitStack

import pytest
from pydantic import SecretStr

from shared.adapters.clock import StorageClock
from shared.adapters.identity.credentials import CachedTokens, developer_identity
from shared.composition import storage
from shared.domain.errors import StorageUnavailable
from shared.settings import Settings


async def test_a_document_is_given_up_before_the_callers_are(monkeypatch: pytest.MonkeyPatch) -> None:
    assert storage._CONNECT_SECONDS + storage._ANSWER_SECONDS < 12, "a key and its tenant are read within 25 s"
    monkeypatch.setattr(storage, "_ANSWER_SECONDS", 0.1)
    asked = asyncio.Event()

    async def say_nothing(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await reader.read()
        writer.close()

    async with await asyncio.start_server(say_nothing, "127.0.0.1", 0) as server, AsyncExitStack() as resources:
        port = server.sockets[0].getsockname()[1]
        settings = Settings(
            tallygate_storage_account_name="tallygate",
            tallygate_storage_account_key=SecretStr("c2VjcmV0"),
            tallygate_table_endpoint=f"http://127.0.0.1:{port}/tallygate",
            tallygate_blob_endpoint=f"http://127.0.0.1:{port}/tallygate",
            audit_chain_key=SecretStr("0123456789abcdef0123456789abcdef"),
        )
        tokens = CachedTokens(lambda authority: developer_identity("", authority))
        opened = await storage.open_storage(settings, tokens, StorageClock(), resources)
        with pytest.raises(StorageUnavailable):
            await opened.documents.get("credentials", "acme", "key")
        assert asked.is_set()
