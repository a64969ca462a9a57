"""What flows through ccxt.pro's sockets, taken where it arrives instead of being asked for each time.

ccxt wakes whoever watches a market with each message, and has to be asked anew for the next: several times
the work of reading the message itself. Here each message is handed on where ccxt has dealt with it. Whoever
watches sleeps until something goes wrong: a gap in the sequence, a lost connection, a refusal.
"""

import asyncio
from collections.abc import Awaitable, Callable, Collection
from contextvars import ContextVar
from dataclasses import dataclass
from functools import partial
from typing import Any

import ccxt

from carryflow.core.errors import CarryflowError
from carryflow.venues.stream.channel import Channel
from carryflow.venues.stream.sequence import guard_sequence

_WATCHED: ContextVar[Channel | None] = ContextVar("watched", default=None)
"""For whom the running task talks to ccxt."""

_LISTENING: ContextVar[Channel | None] = ContextVar("listening", default=None)
"""The account's orders of which the running task asks to be told."""


@dataclass(frozen=True, slots=True)
class _Line:
    """Say where a channel is subscribed: on which socket, and under which of ccxt's names."""

    url: str
    hashes: tuple[str, ...]


class Tap:
    """Hand what arrives for the channels of one ccxt.pro exchange to `take`, and let go of its sockets."""

    def __init__(self, exchange: Any, take: Callable[[Channel, Any], None]) -> None:
        """Change the exchange so that it tells; it must not be connected yet."""
        self._exchange = exchange
        self._take = take
        self._channels: dict[str, Channel] = {}
        self._lines: dict[Channel, _Line] = {}
        self._spawned: set[asyncio.Future[Any]] = set()
        self._readers: set[asyncio.Task[None]] = set()
        self._make_client = exchange.client
        self._watch_one = exchange.watch
        self._watch_many = exchange.watch_multiple
        exchange.client = self._client
        exchange.watch = self._watch
        exchange.watch_multiple = self._watch_multiple
        exchange.spawn = self._spawn
        guard_sequence(exchange)

    async def watch(self, channel: Channel, call: Callable[..., Awaitable[object]], *args: Any) -> None:
        """Let a channel's messages come by one of ccxt's `watch` methods; return only by an error."""
        token = _WATCHED.set(channel)
        try:
            await call(*args)
        finally:
            _WATCHED.reset(token)

    async def listen(self, channel: Channel, call: Callable[..., Awaitable[Any]], *args: Any) -> Any:
        """Return the next news of orders by one of ccxt's `watch` methods; the channel is there before it."""
        token = _LISTENING.set(channel)
        try:
            return await call(*args)
        finally:
            _LISTENING.reset(token)

    def ask_anew(self, channel: Channel, why: str) -> None:
        """Let ccxt forget the subscription of one channel, whose watcher gets an error."""
        line = self._lines.get(channel)
        client = None if line is None else self._exchange.clients.get(line.url)
        if line is None or client is None:
            return
        for name in line.hashes:
            client.subscriptions.pop(name, None)
            if name in client.futures:
                client.reject(ccxt.NetworkError(why), name)

    def hang_up(self, channel: Channel, why: str) -> None:
        """Close the socket of a channel; the watchers of all that share it get an error."""
        line = self._lines.get(channel)
        client = None if line is None else self._exchange.clients.get(line.url)
        if client is not None:
            client.on_error(ccxt.NetworkError(why))

    async def close(self) -> None:
        """Close every socket, and leave no task."""
        await _cancel(self._spawned)
        await self._exchange.close()
        await _cancel(self._readers)

    def _client(self, url: str) -> Any:
        client = self._make_client(url)
        if "resolve" not in client.__dict__:
            client.resolve = partial(self._resolve, client, client.resolve)
            client.reject = partial(self._reject, client.reject)
            client.receive_loop = partial(self._read, client)
        return client

    def _read(self, client: Any) -> None:
        """Read a socket for as long as it is open, in one task of our own.

        ccxt 4.5 makes a task for each message, and takes what has piled up out of aiohttp's queue behind its
        back. aiohttp 3.14 counts more bytes for a message than ccxt gives back, so that after some thousands
        of such messages it believes the queue to be full, and never reads from that socket again.
        """
        task = asyncio.ensure_future(self._read_messages(client))
        self._readers.add(task)
        task.add_done_callback(self._readers.discard)

    async def _read_messages(self, client: Any) -> None:
        """Hand each message of a socket to ccxt, until it is closed.

        A message that makes no sense, or is missing, ends the connection; whoever watches hears of it.
        """
        while not client.closed():
            try:
                client.handle_message(await client.receive())
            except ccxt.InvalidNonce as gap:
                client.on_error(gap)
                return
            except Exception as error:
                words = f"the connection broke, or what came cannot be read: {type(error).__name__} {error}"
                client.on_error(ccxt.NetworkError(words))
                return
        if self._exchange.clients.get(client.url) is client:  # nobody has noticed yet, nor dialled anew
            client.on_close(1006)

    def _resolve(
        self, client: Any, wake: Callable[..., Any], result: Any, message_hash: str | None = None
    ) -> Any:
        """Hand on what came for a channel, and do not wake its watcher; all else goes ccxt's way.

        A snapshot that comes for a socket that is gone by then is nothing: no messages follow it.
        """
        channel = None if message_hash is None else self._channels.get(message_hash)
        if channel is None:
            return wake(result, message_hash)
        if self._exchange.clients.get(client.url) is client:
            try:
                self._take(channel, result)
            except CarryflowError as error:
                client.reject(error, message_hash)
        return result

    def _reject(self, wake: Callable[..., Any], error: Any, message_hash: str | None = None) -> Any:
        """Let nobody use what a channel knows, before its watcher hears of the error."""
        channel = None if message_hash is None else self._channels.get(message_hash)
        if channel is not None:
            channel.value = None
        return wake(error, message_hash)

    def _watch(
        self,
        url: str,
        message_hash: str,
        message: Any = None,
        subscribe_hash: str | None = None,
        subscription: Any = None,
    ) -> Any:
        self._note(url, [message_hash], [subscribe_hash or message_hash])
        told = self._watch_one(url, message_hash, message, subscribe_hash, subscription)
        self._await_subscription(url, [message_hash])
        return told

    def _watch_multiple(
        self,
        url: str,
        message_hashes: list[str],
        message: Any = None,
        subscribe_hashes: list[str] | None = None,
        subscription: Any = None,
    ) -> Any:
        self._note(url, message_hashes, subscribe_hashes or message_hashes)
        told = self._watch_many(url, message_hashes, message, subscribe_hashes, subscription)
        self._await_subscription(url, message_hashes)
        return told

    def _note(self, url: str, messages: list[str], subscriptions: list[str]) -> None:
        channel = _WATCHED.get()
        if channel is not None:
            self._channels.update(dict.fromkeys(messages, channel))
            self._lines[channel] = _Line(url, tuple(dict.fromkeys([*messages, *subscriptions])))

    def _await_subscription(self, url: str, messages: list[str]) -> None:
        """Count orders as subscribed once their socket is open; a refusal ends the call that asked for them.

        What comes before, a key to listen with or a login, is asked for under names without orders in them.
        """
        channel, client = _LISTENING.get(), self._exchange.clients.get(url)
        if channel is None or client is None or not any("order" in name for name in messages):
            return

        def opened(connected: "asyncio.Future[Any]") -> None:
            failed = connected.cancelled() or connected.exception() is not None
            if not failed and self._exchange.clients.get(url) is client:
                channel.subscribe()

        client.connected.add_done_callback(opened)

    def _spawn(self, method: Callable[..., Any], *args: Any) -> "asyncio.Future[Any]":
        """Run what ccxt does in the background, such as asking for a snapshot, where it can be stopped.

        What fails there is told to the watcher by ccxt, or else is noticed as silence.
        """
        task: asyncio.Future[Any] = asyncio.ensure_future(method(*args))
        self._spawned.add(task)
        task.add_done_callback(self._done)
        return task

    def _done(self, task: "asyncio.Future[Any]") -> None:
        self._spawned.discard(task)
        if not task.cancelled():
            task.exception()


async def _cancel(tasks: Collection["asyncio.Future[Any]"]) -> None:
    for task in tuple(tasks):
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
