"""The connection that streams: ccxt.pro's class of a venue, with its websockets led to the same address."""

from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from carryflow.venues.budget import RequestBudget
from carryflow.venues.connection import VenueConnection, redirect
from carryflow.venues.settings import VenueName, VenueSettings
from carryflow.venues.stream.settings import FeedSettings

STREAMS_MARKS: frozenset[VenueName] = frozenset({"simulated", "binance"})
"""Venues whose mark stream tells the funding rate and its time, too; the others are asked over REST."""


def redirect_streams(urls: Any, base: str) -> Any:
    """Return a tree of URLs that lead to `base`; those of websockets keep their host in front of the path.

    ccxt tells Binance's spot from its futures by the host.

    >>> redirect_streams({"ws": "wss://stream.binance.com:9443/ws"}, "http://127.0.0.1:8700")
    {'ws': 'ws://127.0.0.1:8700/stream.binance.com/ws'}
    >>> redirect_streams({"public": "https://api.binance.com/api/v3"}, "https://mirror")
    {'public': 'https://mirror/api/v3'}
    """
    if isinstance(urls, Mapping):
        return {key: redirect_streams(value, base) for key, value in urls.items()}
    parts = urlsplit(urls)
    if not parts.scheme.startswith("ws"):
        return redirect(urls, base)
    host = parts.netloc.rsplit("@")[-1].split(":")[0]
    asked = f"?{parts.query}" if parts.query else ""
    return f"{base.rstrip('/').replace('http', 'ws', 1)}/{host}{parts.path}{asked}"


class StreamConnection(VenueConnection):
    """Ask one venue, and listen to it; its requests keep to the rules of all others."""

    def __init__(
        self,
        settings: VenueSettings,
        feed: FeedSettings,
        markets: int,
        *,
        prepare: Callable[[Any], None] | None = None,
        budget: RequestBudget | None = None,
    ) -> None:
        """Spread so many `markets` of each leg over as few sockets as `feed` allows.

        `prepare` gets the exchange as ccxt made it, before it is led to another address; `budget` is shared
        with whoever else asks this venue.
        """
        self._sockets = _sockets(feed, markets)
        super().__init__(settings, budget=budget, prepare=prepare)

    def _make(self) -> Any:
        """Return ccxt.pro's exchange."""
        import ccxt.pro

        config = self._config()
        config["options"] |= self._sockets
        return getattr(ccxt.pro, self.dialect.ccxt_class)(config | {"newUpdates": True})

    def _redirect(self, urls: Any, base: str) -> Any:
        return redirect_streams(urls, base)


def _sockets(feed: FeedSettings, markets: int) -> dict[str, Any]:
    """Return ccxt's options for as few sockets as are allowed, and books as deep as wanted.

    These are Binance's; the classes of other venues share one socket, and choose their own depth.
    """
    sockets = -(-markets // feed.markets_per_connection)
    return {
        "streamLimits": {"spot": sockets, "future": sockets},
        "subscriptionLimitByStream": {"spot": 4 * markets + 4, "future": 4 * markets + 4},
        "watchOrderBookLimit": feed.levels,
    }
