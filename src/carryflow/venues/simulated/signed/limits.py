"""How often one may ask: weights of requests in a minute, orders in ten seconds, and what follows."""

from math import ceil

from aiohttp import web

from carryflow.core.leg import Leg
from carryflow.venues.simulated.misbehaviour import banned, too_many_orders, too_many_requests
from carryflow.venues.simulated.trading.settings import TradingSettings

_MINUTE_MS = 60_000
_TEN_SECONDS_MS = 10_000
_FIRST_BAN_MS = 120_000
_PATIENCE = 10
"""Requests after a refusal, within its wait, that bring a ban."""

_WEIGHTS: dict[tuple[str, str], int] = {
    ("GET", "/api/v3/exchangeInfo"): 20,
    ("GET", "/api/v3/klines"): 2,
    ("GET", "/api/v3/depth"): 5,
    ("GET", "/api/v3/ticker/price"): 2,
    ("GET", "/api/v3/ticker/bookTicker"): 2,
    ("GET", "/api/v3/order"): 4,
    ("GET", "/api/v3/openOrders"): 6,
    ("GET", "/api/v3/allOrders"): 20,
    ("GET", "/api/v3/account"): 20,
    ("GET", "/api/v3/myTrades"): 20,
    ("GET", "/fapi/v1/klines"): 5,
    ("GET", "/fapi/v1/depth"): 5,
    ("GET", "/fapi/v1/ticker/bookTicker"): 2,
    ("GET", "/fapi/v1/allOrders"): 5,
    ("GET", "/fapi/v1/userTrades"): 5,
    ("GET", "/fapi/v1/income"): 30,
    ("POST", "/fapi/v1/countdownCancelAll"): 10,
    ("GET", "/fapi/v1/positionSide/dual"): 30,
    **{("GET", f"/fapi/v{v}/{name}"): 5 for v in (2, 3) for name in ("account", "balance", "positionRisk")},
    ("POST", "/fapi/v1/order"): 0,
}
"""What requests weigh that do not weigh 1; Binance, "IP limits" of each endpoint's page."""


class _Window:
    """Count what was spent in the running window of a clock."""

    def __init__(self, length_ms: int) -> None:
        self._length_ms = length_ms
        self._index = -1
        self.spent = 0

    def add(self, amount: int, now_ms: int) -> int:
        """Return what has been spent with this amount."""
        index = now_ms // self._length_ms
        if index != self._index:
            self._index, self.spent = index, 0
        self.spent += amount
        return self.spent

    def wait_seconds(self, now_ms: int) -> int:
        """Return how long the window is still open, in whole seconds, at least 1."""
        return max(1, ceil((self._length_ms - now_ms % self._length_ms) / 1000))


class RequestLimits:
    """Refuse clients that ask too often, and ban those that go on; by the venue's clock."""

    def __init__(self, settings: TradingSettings) -> None:
        self._most_weight = {"spot": settings.spot_weight_per_minute, "perp": settings.perp_weight_per_minute}
        self._most_orders = {"spot": settings.spot_orders_per_10s, "perp": settings.perp_orders_per_10s}
        self._weights = {leg: _Window(_MINUTE_MS) for leg in ("spot", "perp")}
        self._orders: dict[tuple[Leg, str], _Window] = {}
        self._refused_until_ms = 0
        self._ignored = 0
        self._banned_until_ms = 0

    def refuse_request(self, request: web.Request, now_ms: int) -> web.Response | None:
        """Count a request; return the refusal if it is one too many."""
        if now_ms < self._banned_until_ms:
            return banned(ceil((self._banned_until_ms - now_ms) / 1000), now_ms)
        leg = leg_of(request.path)
        spent = self._weights[leg].add(weight_of(request), now_ms)
        if spent <= self._most_weight[leg]:
            return None
        return self._refuse(
            too_many_requests(self._weights[leg].wait_seconds(now_ms), self._most_weight[leg]),
            self._weights[leg].wait_seconds(now_ms),
            now_ms,
        )

    def refuse_order(self, leg: Leg, key: str, now_ms: int) -> web.Response | None:
        """Count an order of an account; return the refusal if it is one too many."""
        window = self._orders.setdefault((leg, key), _Window(_TEN_SECONDS_MS))
        if window.add(1, now_ms) <= self._most_orders[leg]:
            return None
        wait = window.wait_seconds(now_ms)
        return self._refuse(too_many_orders(wait, self._most_orders[leg]), wait, now_ms)

    def headers(self, path: str) -> dict[str, str]:
        """Return what an answer tells of the limits."""
        return {"X-MBX-USED-WEIGHT-1M": str(self._weights[leg_of(path)].spent)}

    def announced(self, leg: Leg) -> list[dict[str, object]]:
        """Return the limits in the words of `exchangeInfo`."""
        orders = {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10}
        weight = {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1}
        return [weight | {"limit": self._most_weight[leg]}, orders | {"limit": self._most_orders[leg]}]

    def _refuse(self, refusal: web.Response, wait_seconds: int, now_ms: int) -> web.Response:
        """Return the refusal, or a ban if the client has not minded the ones before."""
        self._ignored = self._ignored + 1 if now_ms < self._refused_until_ms else 0
        self._refused_until_ms = max(self._refused_until_ms, now_ms + 1000 * wait_seconds)
        if self._ignored < _PATIENCE:
            return refusal
        self._banned_until_ms = now_ms + _FIRST_BAN_MS
        return banned(_FIRST_BAN_MS // 1000, now_ms)


def leg_of(path: str) -> Leg:
    """Return whose limits a path falls under: futures have their own."""
    return "perp" if path.startswith("/fapi/") else "spot"


def weight_of(request: web.Request) -> int:
    """Return what a request weighs; asking for the open orders of all markets costs more."""
    if request.method == "GET" and request.path.endswith("/openOrders") and "symbol" not in request.query:
        return 80 if leg_of(request.path) == "spot" else 40
    return _WEIGHTS.get((request.method, request.path), 1)
