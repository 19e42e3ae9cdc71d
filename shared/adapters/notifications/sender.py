"""Send alerts to sinks by HTTP. No address, secret or answer gets into a log line or an error."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from datetime import UTC
from email.utils import parsedate_to_datetime
from typing import Final

import aiohttp
import msgspec
from yarl import URL

from shared.adapters.identity.credentials import TokenProvider
from shared.adapters.notifications.addresses import AddressRules, CheckedResolver
from shared.adapters.notifications.messages import slack_message, teams_message
from shared.adapters.notifications.signatures import signed_headers, signing_keys
from shared.application.ports.alerts import SinkFailed
from shared.application.ports.clock import Clock
from shared.application.ports.secrets import Secrets
from shared.domain.alerts.event import AlertEvent
from shared.domain.alerts.runbook import runbook_section
from shared.domain.alerts.sink import AlertSink, SinkType
from shared.domain.errors import InvalidRequest, SecretUnavailable, StorageUnavailable
from shared.domain.values import record

TIMEOUT_SECONDS: Final = 10.0
"""The longest time of one request, from the resolution of the host to the head of the answer."""
_SCOPE: Final = "https://eventgrid.azure.net/.default"
"""The scope of Event Grid in all clouds."""
_TOPIC_VERSION: Final = {"api-version": "2018-01-01"}
"""The version for topics whose endpoint states none, as the portal shows them."""
_BATCH: Final = 50
_JSON: Final = "application/json"
_CLOUD_EVENT: Final = "application/cloudevents+json; charset=utf-8"
_CLOUD_EVENTS: Final = "application/cloudevents-batch+json; charset=utf-8"
_GONE: Final = 410
_NOT_OF_THE_EVENT: Final = frozenset({401, 403, 404, 408, 429})
"""Client errors that any event would meet."""
_FIRST_SERVER_ERROR: Final = 500


@record
class _Post:
    """One request to a sink."""

    url: URL
    headers: Mapping[str, str]
    body: bytes
    private: bool
    """The host may have an address of a private network."""


class HttpAlertSender:
    """Implements `AlertSender`. Each request has a connection of its own, because sinks are called seldom."""

    def __init__(
        self,
        secrets: Secrets,
        tokens: TokenProvider,
        clock: Clock,
        rules: AddressRules,
        runbook_url: str = "",
        timeout_seconds: float = TIMEOUT_SECONDS,
    ) -> None:
        """`runbook_url` is a page with an anchor for each kind; messages link to it."""
        self._secrets = secrets
        self._tokens = tokens
        self._clock = clock
        self._rules = rules
        self._runbook_url = runbook_url
        self._timeout_seconds = timeout_seconds

    def batch_size(self, sink: AlertSink) -> int:
        return _BATCH if sink.type is SinkType.EVENT_GRID else 1

    async def send(self, sink: AlertSink, events: Sequence[AlertEvent]) -> None:
        try:
            async with asyncio.timeout(self._timeout_seconds):
                status, retry_after = await self._post(await self._request(sink, events))
        except TimeoutError:
            raise SinkFailed("The sink did not answer in time.", is_reachable=False) from None
        except (aiohttp.ClientError, OSError) as error:
            raise SinkFailed(f"The sink cannot be reached: {type(error).__name__}.", is_reachable=False) from None
        except InvalidRequest as error:
            raise SinkFailed(str(error), is_reachable=False) from None
        except (SecretUnavailable, StorageUnavailable) as error:
            raise SinkFailed(str(error), is_reachable=False) from None
        if not 200 <= status < 300:
            raise SinkFailed(
                f"The sink answered {status}.",
                retry_after_seconds=self._seconds_of(retry_after),
                is_final=status == _GONE,
                is_reachable=status < _FIRST_SERVER_ERROR and status not in _NOT_OF_THE_EVENT,
            )

    async def check(self, sink: AlertSink) -> None:
        try:
            await self._url(sink)
            if sink.signing_secret:
                await self._keys(sink)
        except SecretUnavailable as error:
            raise InvalidRequest(str(error)) from None

    async def _request(self, sink: AlertSink, events: Sequence[AlertEvent]) -> _Post:
        url, event = await self._url(sink), events[0]
        if sink.type is SinkType.EVENT_GRID:
            body = msgspec.json.encode([self._document(each) for each in events])
            headers = {"content-type": _CLOUD_EVENTS, "authorization": f"Bearer {await self._tokens.token(_SCOPE)}"}
            return _Post(url=url, headers=headers, body=body, private=True)
        headers = {"content-type": _JSON}
        match sink.type:
            case SinkType.TEAMS:
                body = msgspec.json.encode(teams_message(event, self._runbook(event)))
            case SinkType.SLACK:
                body = msgspec.json.encode(slack_message(event, self._runbook(event)))
            case _:
                body = msgspec.json.encode(self._document(event))
                signed = signed_headers(event.event_id, body, await self._keys(sink), self._clock.now())
                headers = {"content-type": _CLOUD_EVENT, **signed}
        return _Post(url=url, headers=headers, body=body, private=self._rules.allow_private)

    async def _post(self, post: _Post) -> tuple[int, str]:
        """Send a request. Returns the status and `Retry-After`. Reads no body, and follows no redirect."""
        resolver = CheckedResolver(lambda address: self._rules.admits(address, private=post.private))
        connector = aiohttp.TCPConnector(resolver=resolver, use_dns_cache=False, force_close=True)
        async with aiohttp.ClientSession(
            connector=connector, cookie_jar=aiohttp.DummyCookieJar(), auto_decompress=False
        ) as session:
            async with session.post(post.url, data=post.body, headers=post.headers, allow_redirects=False) as response:
                response.close()
                return response.status, response.headers.get("retry-after", "")

    async def _url(self, sink: AlertSink) -> URL:
        """Return the address of a sink. Raises `InvalidRequest` and `SecretUnavailable`."""
        is_topic = sink.type is SinkType.EVENT_GRID
        text = sink.endpoint if is_topic else await self._secrets.get(sink.address_secret)
        suffixes = self._rules.topic_suffixes if is_topic else self._rules.host_suffixes
        try:
            url = self._rules.url(text, suffixes)
        except ValueError as error:
            named = "'endpoint'" if is_topic else f"The address in the secret '{sink.address_secret}'"
            raise InvalidRequest(f"{named} {error}.", "endpoint" if is_topic else "address_secret") from None
        return url.with_query(_TOPIC_VERSION) if is_topic and not url.query_string else url

    async def _keys(self, sink: AlertSink) -> list[bytes]:
        """Return the keys that sign. Raises `InvalidRequest` and `SecretUnavailable`."""
        versions = await self._secrets.versions(sink.signing_secret)
        try:
            return signing_keys(versions, self._clock.now())
        except ValueError as error:
            raise InvalidRequest(f"The secret '{sink.signing_secret}' {error}.", "signing_secret") from None

    def _document(self, event: AlertEvent) -> dict[str, object]:
        """Return an event as it is stored, with a link to what to do."""
        document: dict[str, object] = msgspec.json.decode(event.document, type=dict[str, object])
        runbook = self._runbook(event)
        return {**document, "runbook": runbook} if runbook else document

    def _runbook(self, event: AlertEvent) -> str:
        return f"{self._runbook_url}#{runbook_section(event.kind)}" if self._runbook_url else ""

    def _seconds_of(self, retry_after: str) -> float:
        """Return the wait that a sink asks for, in seconds; 0 if it asks for none that can be read."""
        if retry_after.isascii() and retry_after.isdigit():
            return float(retry_after[:9])
        try:
            at = parsedate_to_datetime(retry_after)
        except (ValueError, OverflowError):
            return 0.0
        at = at if at.tzinfo else at.replace(tzinfo=UTC)
        return max(0.0, (at - self._clock.now()).total_seconds())
