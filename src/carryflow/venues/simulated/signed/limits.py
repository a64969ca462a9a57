"""How often one may ask: weights of requests in a minute, orders in ten seconds, and what follows."""

from collections.abc import Container
from math import ceil

from carryflow.core.leg import Leg
from carryflow.venues.simulated.refusals import Refusal, banned, too_many_orders, too_many_requests
from carryflow.venues.simulated.trading.settings import TradingSettings

_MINUTE_MS = 60_000
_TEN_SECONDS_MS = 10_000
_FIRST_BAN_MS = 120_000
_PATIENCE = 10
"""Requests after a refusal, within its wait, that bring a ban."""

_OF_FUTURES = ("/fapi/", "/ws-fapi", "/demo-ws-fapi")
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

    def count_request(self, leg: Leg, weight: int, now_ms: int) -> None:
        """Count a request.

        Raises:
            Refusal: it is one too many.
        """
        if now_ms < self._banned_until_ms:
            raise banned(ceil((self._banned_until_ms - now_ms) / 1000), now_ms)
        window = self._weights[leg]
        if window.add(weight, now_ms) > self._most_weight[leg]:
            wait = window.wait_seconds(now_ms)
            raise self._refusal(too_many_requests(wait, self._most_weight[leg]), wait, now_ms)

    def count_order(self, leg: Leg, key: str, now_ms: int) -> None:
        """Count an order of an account.

        Raises:
            Refusal: it is one too many.
        """
        window = self._orders.setdefault((leg, key), _Window(_TEN_SECONDS_MS))
        if window.add(1, now_ms) > self._most_orders[leg]:
            wait = window.wait_seconds(now_ms)
            raise self._refusal(too_many_orders(wait, self._most_orders[leg]), wait, now_ms)

    def headers(self, leg: Leg) -> dict[str, str]:
        """Return what an answer over HTTP tells of the limits."""
        return {"X-MBX-USED-WEIGHT-1M": str(self._weights[leg].spent)}

    def spent(self, leg: Leg, key: str) -> list[dict[str, object]]:
        """Return what the answer to an order as a message tells of the limits."""
        counts = (self._weights[leg].spent, self._orders[leg, key].spent)
        return [limit | {"count": count} for limit, count in zip(self.announced(leg), counts, strict=True)]

    def announced(self, leg: Leg) -> list[dict[str, object]]:
        """Return the limits in the words of `exchangeInfo`."""
        orders = {"rateLimitType": "ORDERS", "interval": "SECOND", "intervalNum": 10}
        weight = {"rateLimitType": "REQUEST_WEIGHT", "interval": "MINUTE", "intervalNum": 1}
        return [weight | {"limit": self._most_weight[leg]}, orders | {"limit": self._most_orders[leg]}]

    def _refusal(self, refusal: Refusal, wait_seconds: int, now_ms: int) -> Refusal:
        """Return the refusal, or a ban if the client has not minded the ones before."""
        self._ignored = self._ignored + 1 if now_ms < self._refused_until_ms else 0
        self._refused_until_ms = max(self._refused_until_ms, now_ms + 1000 * wait_seconds)
        if self._ignored < _PATIENCE:
            return refusal
        self._banned_until_ms = now_ms + _FIRST_BAN_MS
        return banned(_FIRST_BAN_MS // 1000, now_ms)


def leg_of(path: str) -> Leg:
    """Return whose limits a path falls under: futures have their own."""
    return "perp" if path.startswith(_OF_FUTURES) else "spot"


def weight_of(method: str, path: str, names: Container[str] = ()) -> int:
    """Return what a request with parameters of these names weighs.

    Asking for the open orders of all markets costs more.
    """
    if method == "GET" and path.endswith("/openOrders") and "symbol" not in names:
        return 80 if leg_of(path) == "spot" else 40
    return _WEIGHTS.get((method, path), 1)
