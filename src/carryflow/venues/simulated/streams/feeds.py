"""What the public streams say: books' changes, trades, marks, touches and bars, as Binance words them."""

import json
import re
from abc import ABC, abstractmethod
from decimal import Decimal
from itertools import count
from typing import Any

from carryflow.core.leg import Leg
from carryflow.market.timeframe import TIMEFRAMES, Timeframe, bar_ms
from carryflow.venues.simulated.exchange import SimulatedVenue
from carryflow.venues.simulated.market import VenueMarket
from carryflow.venues.simulated.refusals import Refusal
from carryflow.venues.simulated.signed.order_answers import exact
from carryflow.venues.simulated.trading.floor import TradingFloor
from carryflow.venues.simulated.trading.live_book import SLOT_MS
from carryflow.venues.simulated.trading.orders import Side, Trade

_KINDS = re.compile(
    r"(?:(?P<symbol>[a-z0-9]+)@)?(?P<kind>depth|trade|aggTrade|markPrice|bookTicker|kline_\w+|!markPrice@arr)"
    r"(?:@(?P<every>\d+)(?P<unit>ms|s))?"
)
_USUAL_MS = {("spot", "depth"): 1000, ("perp", "depth"): 250}


class Feed(ABC):
    """Make the messages of one stream.

    Attributes:
        name: the stream, as clients name it.
        every_ms: how much of the venue's time lies between two messages at least.
    """

    def __init__(self, name: str, leg: Leg, floor: TradingFloor, every_ms: int) -> None:
        self.name = name
        self.every_ms = every_ms
        self._leg = leg
        self._floor = floor
        self._venue: SimulatedVenue = floor.venue
        self._said_ms = floor.venue.now_ms

    def messages(self, now_ms: int) -> list[str]:
        """Return what there is to say since the last call; nothing before its time has come.

        After a step back of the clock the stream begins anew.
        """
        if now_ms < self._said_ms:
            self._begin_anew(now_ms)
        if now_ms // self.every_ms == self._said_ms // self.every_ms:
            return []
        said_ms, self._said_ms = self._said_ms, now_ms
        return self._news(said_ms, now_ms)

    def _begin_anew(self, now_ms: int) -> None:
        """Forget what was said, all of which lies after this instant now."""
        self._said_ms = now_ms

    @abstractmethod
    def _news(self, said_ms: int, now_ms: int) -> list[str]:
        """Return the messages of the time since `said_ms`."""


class MarketFeed(Feed):
    """Make the messages of a stream of one market."""

    def __init__(self, name: str, leg: Leg, floor: TradingFloor, every_ms: int, market: VenueMarket) -> None:
        super().__init__(name, leg, floor, every_ms)
        self.market = market

    def traded(self, trade: Trade) -> list[str]:
        """Return what there is to say of a client's trade at once."""
        return []


class DepthFeed(MarketFeed):
    """Tell which levels of a book have changed; each message begins where the one before ended."""

    def __init__(self, name: str, leg: Leg, floor: TradingFloor, every_ms: int, market: VenueMarket) -> None:
        super().__init__(name, leg, floor, every_ms, market)
        self._told_id = floor.venue.now_ms // SLOT_MS

    def _begin_anew(self, now_ms: int) -> None:
        super()._begin_anew(now_ms)
        self._told_id = now_ms // SLOT_MS

    def _news(self, said_ms: int, now_ms: int) -> list[str]:
        changes = self._floor.book_changes(self._leg, self.market.symbol, self._told_id)
        if changes.last_id <= self._told_id or not (changes.bids or changes.asks):
            return []
        before, self._told_id = self._told_id, changes.last_id
        times = f'"E":{now_ms},"T":{now_ms}' if self._leg == "perp" else f'"E":{now_ms}'
        previous = f',"pu":{before}' if self._leg == "perp" else ""
        return [
            f'{{"e":"depthUpdate",{times},"s":"{self.market.symbol}","U":{before + 1},"u":{changes.last_id}'
            f'{previous},"b":{_levels(changes.bids)},"a":{_levels(changes.asks)}}}'
        ]


class TradeFeed(MarketFeed):
    """Tell of trades: the crowd's, at the touch, as many coins as the last bar's volume; and clients' own."""

    def __init__(
        self, name: str, leg: Leg, floor: TradingFloor, every_ms: int, market: VenueMarket, aggregated: bool
    ) -> None:
        super().__init__(name, leg, floor, every_ms, market)
        self._aggregated = aggregated
        self._ids = count(1)

    def traded(self, trade: Trade) -> list[str]:
        """Return a client's trade against the book; where the client rested, the crowd was the taker."""
        maker_buys = (trade.side is Side.BUY) == trade.maker
        return [self._trade(exact(trade.price), exact(trade.qty), maker_buys, trade.time_ms)]

    def _news(self, said_ms: int, now_ms: int) -> list[str]:
        if self._venue.closed(self.market):
            return []
        book = self._floor.book(self._leg, self.market.symbol, 1)
        per_ms = self.market.last("volume", now_ms) / (2 * self.market.bar_ms)
        lot = self.market.filters.lot
        qty = round(per_ms * min(now_ms - said_ms, self.market.bar_ms) / lot) * Decimal(str(lot))
        if not qty or not (book.bids and book.asks):
            return []
        sides = ((book.asks[0][0], False), (book.bids[0][0], True))
        return [self._trade(price, exact(qty), maker_buys, now_ms) for price, maker_buys in sides]

    def _trade(self, price: str, qty: str, maker_buys: bool, time_ms: int) -> str:
        number = next(self._ids)
        core = {"E": time_ms, "s": self.market.symbol, "p": price, "q": qty, "T": time_ms, "m": maker_buys}
        if self._aggregated:
            return json.dumps({"e": "aggTrade", "a": number, "f": number, "l": number, "M": True, **core})
        return json.dumps({"e": "trade", "t": number, "M": True, **core})


class MarkFeed(Feed):
    """Tell mark, index, and the funding that the running interval leads to; of one market, or of all."""

    def __init__(self, name: str, floor: TradingFloor, every_ms: int, market: VenueMarket | None) -> None:
        super().__init__(name, "perp", floor, every_ms)
        self._market = market
        self._known: dict[str, tuple[int, dict[str, Any]]] = {}

    def _news(self, said_ms: int, now_ms: int) -> list[str]:
        if self._market is not None:
            return [json.dumps(self._mark(self._market, now_ms))]
        return [json.dumps([self._mark(market, now_ms) for market in self._venue.markets("perp")])]

    def _mark(self, market: VenueMarket, now_ms: int) -> dict[str, Any]:
        """Return one market's message; all but its time changes only as a bar closes."""
        bar = now_ms // market.bar_ms
        known = self._known.get(market.symbol)
        if known is None or known[0] != bar:
            index = self._venue.premium_index(market)
            words = {
                "s": market.symbol,
                "p": index["markPrice"],
                "ap": index["markPrice"],
                "i": index["indexPrice"],
                "P": index["estimatedSettlePrice"],
                "r": index["lastFundingRate"],
                "T": index["nextFundingTime"],
            }
            known = self._known[market.symbol] = (bar, words)
        return {"e": "markPriceUpdate", "E": now_ms} | known[1]


class TouchFeed(MarketFeed):
    """Tell the best bid and ask whenever they have changed."""

    _touch: tuple[Any, ...] = ()

    def _begin_anew(self, now_ms: int) -> None:
        super()._begin_anew(now_ms)
        self._touch = ()

    def _news(self, said_ms: int, now_ms: int) -> list[str]:
        book = self._floor.book(self._leg, self.market.symbol, 1)
        touch = (*book.bids, *book.asks)
        if touch == self._touch or not (book.bids and book.asks):
            return []
        self._touch = touch
        (bid, bid_qty), (ask, ask_qty) = book.bids[0], book.asks[0]
        words = {"s": self.market.symbol, "b": bid, "B": bid_qty, "a": ask, "A": ask_qty}
        times = {} if self._leg == "spot" else {"e": "bookTicker", "E": now_ms, "T": now_ms}
        return [json.dumps({"u": book.update_id, **times, **words})]


class KlineFeed(MarketFeed):
    """Tell a bar as it comes, and once more as it has closed."""

    def __init__(
        self,
        name: str,
        leg: Leg,
        floor: TradingFloor,
        every_ms: int,
        market: VenueMarket,
        interval: Timeframe,
    ) -> None:
        super().__init__(name, leg, floor, every_ms, market)
        self._interval = interval

    def _news(self, said_ms: int, now_ms: int) -> list[str]:
        if said_ms // self.market.bar_ms == now_ms // self.market.bar_ms:
            return []
        length = bar_ms(self._interval)
        first = said_ms // length * length
        bars = self._venue.klines(self.market, "trade", length, first, now_ms, 1000)
        return [json.dumps(self._kline(bar, length, now_ms)) for bar in json.loads(bars)]

    def _kline(self, bar: list[Any], length_ms: int, now_ms: int) -> dict[str, Any]:
        opened, o, h, l, c, volume, closes, quote_volume = bar[:8]  # noqa: E741 - Binance's own names
        words = {"t": opened, "T": closes, "s": self.market.symbol, "i": self._interval, "f": 0, "L": 0}
        prices = {"o": o, "c": c, "h": h, "l": l, "v": volume, "n": 0, "x": opened + length_ms <= now_ms}
        totals = {"q": quote_volume, "V": "0", "Q": "0", "B": "0"}
        return {"e": "kline", "E": now_ms, "s": self.market.symbol, "k": words | prices | totals}


def make_feed(name: str, leg: Leg, floor: TradingFloor) -> Feed | None:
    """Return the feed of a stream; None, as Binance says nothing, where there is no such stream or market."""
    parsed = _KINDS.fullmatch(name)
    if parsed is None:
        return None
    symbol, kind = (parsed["symbol"] or "").upper(), parsed["kind"]
    every_ms = int(parsed["every"] or 0) * (1 if parsed["unit"] == "ms" else 1000)
    every_ms = max(every_ms or _USUAL_MS.get((leg, kind), SLOT_MS), SLOT_MS)
    if kind == "!markPrice@arr":
        return MarkFeed(name, floor, max(every_ms, 1000), None) if leg == "perp" and not symbol else None
    try:
        market = floor.venue.market(leg, symbol)
    except Refusal:
        return None
    return _market_feed(kind, name, leg, floor, every_ms, market)


def _market_feed(
    kind: str, name: str, leg: Leg, floor: TradingFloor, every_ms: int, market: VenueMarket
) -> Feed | None:
    feed: Feed | None = None
    match kind:
        case "depth":
            feed = DepthFeed(name, leg, floor, every_ms, market)
        case "bookTicker":
            feed = TouchFeed(name, leg, floor, every_ms, market)
        case "trade" | "aggTrade":
            feed = TradeFeed(name, leg, floor, every_ms, market, kind == "aggTrade")
        case "markPrice" if leg == "perp":
            feed = MarkFeed(name, floor, max(every_ms, 1000), market)
        case _:
            for interval in TIMEFRAMES:
                if kind == f"kline_{interval}" and not bar_ms(interval) % market.bar_ms:
                    feed = KlineFeed(name, leg, floor, every_ms, market, interval)
    return feed


def _levels(levels: list[tuple[str, str]]) -> str:
    return "[" + ",".join(f'["{price}","{qty}"]' for price, qty in levels) + "]"
