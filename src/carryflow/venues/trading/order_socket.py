"""A venue's websocket for orders, which saves them the cost of an HTTP request each.

A message is sent once, and answered by its number. What an answer means is read by the rules of HTTP answers;
whoever finds the socket closed sends over HTTP.
"""

import asyncio
import json
import logging
from collections.abc import Callable
from contextlib import suppress
from itertools import count
from math import ceil
from types import TracebackType
from typing import Any, Self

import aiohttp
import ccxt.async_support as ccxt
import numpy as np

from carryflow.core.errors import CarryflowError
from carryflow.venues.answers import read_refusal
from carryflow.venues.budget import current_errand
from carryflow.venues.connection import VenueConnection
from carryflow.venues.stream.backoff import Backoff

_LOG = logging.getLogger(__name__)

_LEAVING = "serverShutdown"
"""Event by which Binance says that it is going to close a connection."""

_HEARTBEAT_SECONDS = 20.0
_GOODBYE_SECONDS = 1.0
_AT_ONCE_SECONDS = 2.0
_FIRST_WAIT_SECONDS = 0.25
_LONGEST_WAIT_SECONDS = 30.0


class OrderSocket:
    """Keep one websocket open, and ask over it; an asynchronous context manager that ends it.

    A connection that breaks, is refused, or did not answer in time is dialled again: later and later, until
    the venue answers on one.

    Args:
        connection: whose sockets, budget and patience it shares.
        url: where it is dialled.
        rest_url: the address at which the same is asked over HTTP.
        cost: what ccxt's limiter counts for a message.
        sign: returns a message's parameters with key, time and signature.
    """

    def __init__(
        self,
        connection: VenueConnection,
        url: str,
        rest_url: str,
        cost: float,
        sign: Callable[[dict[str, Any]], dict[str, Any]],
    ) -> None:
        self._connection = connection
        self._exchange = connection.exchange
        self._url = url
        self._rest_url = rest_url
        self._cost = cost
        self._sign = sign
        self._backoff = Backoff(np.random.default_rng(), _FIRST_WAIT_SECONDS, _LONGEST_WAIT_SECONDS)
        self._numbers = count(1)
        self._waiting: dict[str, asyncio.Future[dict[str, Any] | None]] = {}
        self._dialled = asyncio.Event()
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._reader: asyncio.Task[None] | None = None
        self._keeper: asyncio.Task[None] | None = None
        self._outworn = False

    @property
    def is_open(self) -> bool:
        """Say whether one can ask."""
        return self._socket is not None and not self._socket.closed and not self._outworn

    async def __aenter__(self) -> Self:
        """Dial; it is open afterwards if the venue answered at once."""
        self._keeper = asyncio.create_task(self._keep())
        try:
            with suppress(TimeoutError):
                await asyncio.wait_for(self._dialled.wait(), _AT_ONCE_SECONDS)
        except BaseException:
            await self.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Hang up; whoever still waits for an answer gets a ccxt.NetworkError."""
        await self.close()

    async def close(self) -> None:
        """Hang up, and dial no more."""
        if self._keeper is not None:
            self._keeper.cancel()
            await asyncio.gather(self._keeper, return_exceptions=True)

    async def ask(self, method: str, params: dict[str, Any]) -> Any:
        """Send a message once, when the budget lets it go, and return its result.

        Raises:
            ccxt.ExchangeNotAvailable: the socket has been closed meanwhile; nothing was sent.
            ccxt.NetworkError: no answer came; nobody knows what became of it.
            ccxt.BaseError: the venue refused; see `venues.answers`.
            RejectedError: it has banned this address.
            RetryableError: it asks to be left alone for longer than the settings allow.
        """
        if self._exchange.enableRateLimit:
            self._exchange.throttler(self._cost)  # queued, so that the questions after it wait the longer
        async with self._connection.budget.turn():
            answer = await self._answer(method, params)
        status, errand = int(answer["status"]), current_errand()
        if status == 200:
            if errand is not None:
                errand.end(status, "")
            return answer["result"]
        error = answer.get("error") or {}
        headers = _retry_after(error, self._exchange.milliseconds())
        body = json.dumps({name: error[name] for name in ("code", "msg") if name in error})
        read_refusal(self._exchange, status, self._rest_url, headers, body)

    async def _answer(self, method: str, params: dict[str, Any]) -> dict[str, Any]:
        """Send a message, and wait for what is said to it."""
        name, socket = self._connection.settings.name, self._socket
        if socket is None or not self.is_open:
            raise ccxt.ExchangeNotAvailable(f"{name}: the websocket was closed before {method} was sent")
        errand, number = current_errand(), str(next(self._numbers))
        asked = {"id": number, "method": method, "params": self._sign(params)}
        text: str = self._exchange.json(asked)
        told: asyncio.Future[dict[str, Any] | None] = asyncio.get_running_loop().create_future()
        self._waiting[number] = told
        if errand is not None:
            errand.begin()
        try:
            async with asyncio.timeout(self._connection.settings.request_timeout_seconds):
                await socket.send_str(text)
                answer = await told
        except TimeoutError:
            self._outworn = self._outworn or self._socket is socket
            raise ccxt.RequestTimeout(f"{name} did not answer {method} in time") from None
        except (aiohttp.ClientError, OSError) as error:
            raise ccxt.NetworkError(f"{name}: {method} broke off, {type(error).__name__}") from None
        finally:
            del self._waiting[number]
            self._part()
        if answer is None:
            raise ccxt.NetworkError(f"{name}: the websocket was closed before {method} was answered")
        return answer

    def _part(self) -> None:
        """Let go of a socket on which nothing more is to be asked, once nobody waits for an answer on it."""
        if self._outworn and not self._waiting and self._reader is not None:
            self._reader.cancel()

    async def _keep(self) -> None:
        """Be connected, or wait to be; meanwhile orders go over HTTP."""
        failed = False
        while True:
            try:
                async with await self._dial() as self._socket:
                    failed = self._outworn = False
                    self._reader = asyncio.create_task(self._read(self._socket))
                    self._dialled.set()
                    await asyncio.gather(self._reader, return_exceptions=True)
            except (aiohttp.ClientError, OSError, TimeoutError, CarryflowError) as error:
                if not failed:
                    words = "%s: orders go over HTTP, the websocket for them cannot be reached (%s)"
                    _LOG.warning(words, self._connection.settings.name, type(error).__name__)
                failed = True
            finally:
                self._socket = None
                self._dialled.set()
                self._give_up()
            await asyncio.sleep(self._backoff.next_seconds())

    async def _dial(self) -> aiohttp.ClientWebSocketResponse:
        seconds, session = self._connection.settings.request_timeout_seconds, self._exchange.session
        async with self._connection.budget.turn(), asyncio.timeout(seconds):
            try:
                goodbye = aiohttp.ClientWSTimeout(ws_close=_GOODBYE_SECONDS)
                dialled: aiohttp.ClientWebSocketResponse = await session.ws_connect(
                    self._url, heartbeat=_HEARTBEAT_SECONDS, timeout=goodbye
                )
            except aiohttp.WSServerHandshakeError as refused:
                with suppress(ccxt.BaseError):  # a pause or a ban is everybody's
                    read_refusal(self._exchange, refused.status, self._url, dict(refused.headers or {}), "{}")
                raise
            return dialled

    async def _read(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        """Hand out answers until the connection ends, or says what cannot be read."""
        async for message in socket:
            try:
                answer = self._exchange.on_json_response(message.data)
                number, event = answer.get("id"), answer.get("event") or {}
                leaves = event.get("e") == _LEAVING
            except (ValueError, TypeError, AttributeError):
                return
            told = self._waiting.get(number)
            if told is not None and not told.done():
                told.set_result(answer)
                self._backoff.reset()
            if leaves:
                self._outworn = True
                self._part()

    def _give_up(self) -> None:
        """Tell those who wait that no answer comes any more."""
        for told in self._waiting.values():
            if not told.done():
                told.set_result(None)


def _retry_after(error: dict[str, Any], now_ms: int) -> dict[str, str]:
    """Return the header by which HTTP would tell how long to wait: here it is told until when.

    >>> _retry_after({"code": -1003, "data": {"serverTime": 1000, "retryAfter": 3500}}, 1000)
    {'Retry-After': '3'}
    >>> _retry_after({"code": -1003}, 1000)
    {}
    """
    until = (error.get("data") or {}).get("retryAfter")
    return {} if until is None else {"Retry-After": str(max(0, ceil((int(until) - now_ms) / 1000)))}
