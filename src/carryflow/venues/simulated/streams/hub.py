"""Who listens to which stream, and the sending of it; what nobody listens to is not worked out."""

import asyncio
import json
from collections import deque
from collections.abc import Iterable
from time import monotonic

from aiohttp import web

from carryflow.core.leg import LEGS, Leg
from carryflow.venues.simulated.faults import Fault, FaultBox
from carryflow.venues.simulated.pace import Pace
from carryflow.venues.simulated.streams.feeds import Feed, MarketFeed, make_feed
from carryflow.venues.simulated.streams.listen_keys import ListenKeys
from carryflow.venues.simulated.streams.user_data import account_messages
from carryflow.venues.simulated.trading.events import AccountEvent
from carryflow.venues.simulated.trading.floor import TradingFloor

_MOST_UNREAD_BYTES = 1 << 24
"""A client that leaves so much unread is cut off, as Binance does."""

SEND_AT_ONCE_BYTES = 1 << 25
"""What a socket takes before it makes the sender wait: more than anybody may leave unread."""


class Listener:
    """Be one client's connection.

    Attributes:
        path: where it came in; faults find it by this.
        streams: what it listens to.
        tells_limits: whether answers on it tell how much of the limits is used; a client may want none.
    """

    def __init__(self, socket: web.WebSocketResponse, request: web.Request, wrapped: bool) -> None:
        self.path = request.path
        self.streams: set[str] = set()
        self.tells_limits = request.query.get("returnRateLimits") != "false"
        self.outbox: deque[str] = deque()
        self._socket = socket
        self._transport = request.transport
        self._wrapped = wrapped
        self._silent_until = 0.0
        self._held: dict[str, str] = {}

    def say(self, stream: str, message: str, faults: FaultBox) -> None:
        """Send a message of a stream, or what a fault that is due makes of it."""
        text = f'{{"stream":"{stream}","data":{message}}}' if self._wrapped else message
        injected = faults.take_message(f"{self.path}/{stream}")
        fault = None if injected is None else injected.fault
        if fault is Fault.STREAM_DROP:
            self.cut()
        elif injected is not None and fault is Fault.STREAM_SILENCE:
            self._silent_until = monotonic() + injected.delay_seconds
        if monotonic() < self._silent_until or fault in (Fault.STREAM_DROP, Fault.STREAM_GAP):
            return
        if fault is Fault.STREAM_REORDER and stream not in self._held:
            self._held[stream] = text
            return
        self.outbox.append(text)
        if fault is Fault.STREAM_DUPLICATE:
            self.outbox.append(text)
        if stream in self._held:
            self.outbox.append(self._held.pop(stream))

    def answer(self, text: str) -> None:
        """Send what the client asked for, after what waits."""
        self.outbox.append(text)

    async def send(self) -> None:
        """Write what waits to be sent."""
        while self.outbox:
            await self.tell(self.outbox.popleft())

    async def tell(self, text: str) -> None:
        """Write a text at once, before what waits; it is lost if the client has gone."""
        if self._socket.closed or self._transport is None or self._transport.is_closing():
            self.outbox.clear()
        elif self._transport.get_write_buffer_size() > _MOST_UNREAD_BYTES:
            self.cut()
        else:
            try:
                await self._socket.send_str(text)
            except ConnectionError:
                self.cut()

    def cut(self) -> None:
        """Close the connection without a word."""
        self.outbox.clear()
        if self._transport is not None:
            self._transport.abort()


class StreamHub:
    """Keep the streams that somebody listens to, and tell what is new in them.

    Attributes:
        listen_keys: what opens the streams of accounts; whoever hears one is told when its key expires.
    """

    def __init__(self, floor: TradingFloor, faults: FaultBox, pace: Pace) -> None:
        self.listen_keys = ListenKeys(pace)
        self._floor = floor
        self._faults = faults
        self._feeds: dict[tuple[Leg, str], Feed] = {}
        self._listening: dict[tuple[Leg, str], set[Listener]] = {}
        self._accounts: dict[tuple[Leg, str], dict[Listener, int | None]] = {}
        self._listeners: set[Listener] = set()
        self._waiting = asyncio.Event()
        floor.listeners.append(self._tell)

    def join(self, listener: Listener) -> None:
        """Take in a connection."""
        self._listeners.add(listener)

    def leave(self, listener: Listener) -> None:
        """Forget a connection."""
        self._listeners.discard(listener)
        for leg, name in [key for key, listeners in self._listening.items() if listener in listeners]:
            self.unsubscribe(listener, leg, [name])
        for owners in self._accounts.values():
            owners.pop(listener, None)

    def subscribe(self, listener: Listener, leg: Leg, names: Iterable[str]) -> None:
        """Let a connection hear streams from now on."""
        for name in names:
            feed = self._feeds.get((leg, name)) or make_feed(name, leg, self._floor)
            if feed is not None:
                self._feeds[leg, name] = feed
                self._listening.setdefault((leg, name), set()).add(listener)
                listener.streams.add(name)

    def unsubscribe(self, listener: Listener, leg: Leg, names: Iterable[str]) -> None:
        """Let a connection no longer hear streams."""
        for name in names:
            listener.streams.discard(name)
            listeners = self._listening.get((leg, name), set())
            listeners.discard(listener)
            if not listeners:
                self._listening.pop((leg, name), None)
                self._feeds.pop((leg, name), None)

    def follow(self, listener: Listener, leg: Leg, key: str, subscription: int | None = None) -> None:
        """Let a connection hear what happens to an account's leg; spot wraps it with a subscription's id."""
        self._accounts.setdefault((leg, key), {})[listener] = subscription

    def unfollow(self, listener: Listener) -> None:
        """Let a connection no longer hear of any account."""
        for owners in self._accounts.values():
            owners.pop(listener, None)

    def publish(self, now_ms: int) -> None:
        """Say what is new in every stream that somebody listens to."""
        for key, feed in self._feeds.items():
            for message in feed.messages(now_ms):
                self._spread(key, message)
        for account_key, listen_key in self.listen_keys.take_expired().items():
            self._expire(account_key, listen_key, now_ms)
        self.wake()

    def wake(self) -> None:
        """Let what waits be sent."""
        self._waiting.set()

    async def send_forever(self) -> None:
        """Send what waits, whenever something does."""
        while True:
            await self._waiting.wait()
            self._waiting.clear()
            for listener in tuple(self._listeners):
                if listener.outbox:
                    await listener.send()

    def cut_all(self) -> None:
        """Close every connection without a word."""
        for listener in tuple(self._listeners):
            listener.cut()

    def _spread(self, key: tuple[Leg, str], message: str) -> None:
        for listener in self._listening.get(key, ()):
            listener.say(key[1], message, self._faults)

    def _expire(self, account_key: str, listen_key: str, now_ms: int) -> None:
        """Tell those whom a listen key let in that they hear no more; a subscription of spot has none."""
        told = {"e": "listenKeyExpired", "E": now_ms, "listenKey": listen_key}
        for leg in LEGS:
            owners = self._accounts.get((leg, account_key), {})
            for listener in [heard for heard, subscription in owners.items() if subscription is None]:
                listener.say("listenKeyExpired", json.dumps(told), self._faults)
                del owners[listener]

    def _tell(self, event: AccountEvent) -> None:
        """Tell the owner what happened, and everybody of a trade."""
        if event.trade is not None:
            for key, feed in self._feeds.items():
                if isinstance(feed, MarketFeed) and (key[0], feed.market.symbol) == (
                    event.leg,
                    event.trade.symbol,
                ):
                    for message in feed.traded(event.trade):
                        self._spread(key, message)
        owners = self._accounts.get((event.leg, event.account.key))
        if owners:
            for told in account_messages(event, self._floor):
                for listener, subscription in owners.items():
                    words = told if subscription is None else {"subscriptionId": subscription, "event": told}
                    listener.say(told["e"], json.dumps(words), self._faults)
        self.wake()
