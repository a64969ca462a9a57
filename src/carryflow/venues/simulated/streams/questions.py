"""The messages of Binance's websocket APIs: questions, which are answered one by one, and orders."""

import asyncio
import json
import logging
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from carryflow.core.leg import Leg
from carryflow.venues.simulated.misbehaviour import go_wrong
from carryflow.venues.simulated.refusals import Refusal, broken
from carryflow.venues.simulated.signed.desk import TradingDesk
from carryflow.venues.simulated.signed.limits import weight_of
from carryflow.venues.simulated.signed.new_orders import ORDER_PATHS, place_order
from carryflow.venues.simulated.streams.hub import Listener, StreamHub


@dataclass(frozen=True, slots=True)
class Question:
    """Hold a message: by which number its answer is known, and what it asks for."""

    number: Any
    method: Any
    params: Mapping[str, Any]


class Questions:
    """Answer the messages of the websocket APIs of both legs.

    No order waits for another, and one that has come is carried out even if its client hangs up meanwhile.
    """

    def __init__(self, desk: TradingDesk, hub: StreamHub) -> None:
        self._desk = desk
        self._hub = hub
        self._orders: set[asyncio.Task[None]] = set()

    def take(self, leg: Leg, listener: Listener, text: str) -> None:
        """Do what a message asks for; an order is answered when it is done."""
        try:
            asked = _read(text)
        except Refusal as refusal:
            self._answer(listener, _refused(listener, None, refusal, self._desk))
            return
        if asked.method == "order.place":
            task = asyncio.create_task(self._order(OrderMessage(self._desk, leg, listener, asked)))
            self._orders.add(task)
            task.add_done_callback(self._orders.discard)
            return
        try:
            answer = _answered(listener, asked.number, self._result(leg, listener, asked), [])
            self._answer(listener, answer)
        except Refusal as refusal:
            self._answer(listener, _refused(listener, asked.number, refusal, self._desk))

    async def close(self) -> None:
        """Give up the orders that are still on their way."""
        for task in self._orders:
            task.cancel()
        await asyncio.gather(*self._orders, return_exceptions=True)

    def _answer(self, listener: Listener, text: str) -> None:
        listener.answer(text)
        self._hub.wake()

    async def _order(self, order: "OrderMessage") -> None:
        injected = self._desk.faults.take(order.path, "POST")
        try:
            if injected is None:
                answer = await order.do()
            else:
                answer = await go_wrong(injected, order, self._desk.venue.now_ms)
        except Exception:
            logging.getLogger(__name__).exception("the simulated exchange cannot carry out an order")
            answer = order.refuse(broken())
        if answer is not None:
            await order.listener.tell(answer)

    def _result(self, leg: Leg, listener: Listener, asked: Question) -> Any:
        """Return the answer to a question.

        Raises:
            Refusal: it is not signed, or nothing that is known here.
        """
        now_ms = self._desk.catch_up()
        match asked.method:
            case "ping":
                return {}
            case "time":
                return {"serverTime": now_ms}
            case "userDataStream.subscribe.signature" if leg == "spot":
                key, _ = self._desk.keyring.check_message(asked.params, self._desk.pace)
                self._hub.follow(listener, "spot", key, 0)
                return {"subscriptionId": 0}
            case "userDataStream.unsubscribe" if leg == "spot":
                self._hub.unfollow(listener)
                return {}
        raise Refusal(-1000, "Unknown method.")


@dataclass(frozen=True, slots=True)
class OrderMessage:
    """Be an order that came as a message; it passes all that one over HTTP passes."""

    desk: TradingDesk
    leg: Leg
    listener: Listener
    asked: Question

    @property
    def path(self) -> str:
        """Return where it would have been sent over HTTP."""
        return ORDER_PATHS[self.leg]

    async def do(self) -> str | None:
        """Take the order to its match, and return the answer."""
        desk, leg = self.desk, self.leg
        try:
            desk.require_open()
            desk.limits.count_request(leg, weight_of("POST", self.path), desk.catch_up())
            key, params = desk.keyring.check_message(self.asked.params, desk.pace)
            result = await place_order(desk, desk.account(key), leg, params)
        except Refusal as refusal:
            return self.refuse(refusal)
        return _answered(self.listener, self.asked.number, result, desk.limits.spent(leg, key))

    def refuse(self, refusal: Refusal) -> str | None:
        """Return an answer that says no."""
        return _refused(self.listener, self.asked.number, refusal, self.desk)

    def halve(self, answer: str | None) -> str | None:
        """Return the first half of an answer."""
        return answer and answer[: len(answer) // 2]

    def hang_up(self) -> str | None:
        """Close the connection, and return no answer."""
        self.listener.cut()
        return None


def _read(text: str) -> Question:
    """Return what a message asks; numbers with a point stay the words that were signed.

    Raises:
        Refusal: it is no JSON, or none of this kind.
    """
    try:
        asked = json.loads(text, parse_float=str)
        return Question(asked.get("id"), asked.get("method"), dict(asked.get("params") or {}))
    except (ValueError, AttributeError, TypeError, RecursionError):
        raise Refusal(-1100, "Invalid JSON.") from None


def _answered(listener: Listener, number: Any, result: Any, limits: list[dict[str, object]]) -> str:
    return _told(listener, {"id": number, "status": 200, "result": result}, limits)


def _refused(listener: Listener, number: Any, refusal: Refusal, desk: TradingDesk) -> str:
    """Return a refusal as a message tells it: until when to wait, not for how long."""
    error: dict[str, Any] = {"code": refusal.code, "msg": refusal.message}
    if refusal.wait_seconds is not None:
        now_ms = desk.venue.now_ms
        error["data"] = {"serverTime": now_ms, "retryAfter": now_ms + 1000 * refusal.wait_seconds}
    return _told(listener, {"id": number, "status": refusal.status, "error": error}, [])


def _told(listener: Listener, answer: dict[str, Any], limits: list[dict[str, object]]) -> str:
    return json.dumps(answer | {"rateLimits": limits} if listener.tells_limits else answer)
