"""One venue through ccxt's unmodified class: one budget for all requests, and errors in our words."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from datetime import UTC, datetime
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import aiohttp
import ccxt.async_support as ccxt

from carryflow.core.errors import (
    CarryflowError,
    MarketDataError,
    RejectedError,
    RetryableError,
    SettingsError,
    UnknownTickerError,
    VenueError,
)
from carryflow.core.leg import Leg
from carryflow.market.coins import require_known
from carryflow.market.timeframe import Timeframe
from carryflow.venues.answers import MinuteCount, read_strictly
from carryflow.venues.budget import RequestBudget
from carryflow.venues.credentials import scrub
from carryflow.venues.dialects import DIALECTS
from carryflow.venues.settings import TAPE_HEADER, VenueSettings

Answer = TypeVar("Answer")

MAX_CLOCK_SKEW_MS = 60_000
"""How far the clocks of the venue and of this machine may be apart."""

_FEATURES = {
    "fetchOHLCV": "bars",
    "fetchFundingRateHistory": "settled funding",
    "fetchOrderBook": "order books",
    "fetchTime": "clock",
    "spot": "spot markets",
    "swap": "perpetuals",
}


def redirect(urls: Any, base: str) -> Any:
    """Return a tree of URLs with every host replaced by `base`; paths stay.

    >>> redirect({"public": "https://api.binance.com/api/v3"}, "http://127.0.0.1:8700")
    {'public': 'http://127.0.0.1:8700/api/v3'}
    """
    if isinstance(urls, dict):
        return {key: redirect(value, base) for key, value in urls.items()}
    return base.rstrip("/") + urlsplit(urls).path


async def together(*parts: Coroutine[Any, Any, Answer]) -> list[Answer]:
    """Run all parts at once and return their results; when one fails, stop the others and raise its error."""
    tasks = [asyncio.ensure_future(part) for part in parts]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


class VenueConnection:
    """Ask one venue for both legs; an asynchronous context manager that closes its sockets.

    A request that the venue did not answer is sent again, later and later; one that it refused is not.
    """

    def __init__(
        self,
        settings: VenueSettings,
        *,
        budget: RequestBudget | None = None,
        prepare: Callable[[Any], None] | None = None,
        minute: MinuteCount | None = None,
    ) -> None:
        """Make the exchange; `prepare` gets it as ccxt made it, before it is led to another address.

        Raises:
            SettingsError: the simulated exchange has no address.
        """
        if settings.name == "simulated" and settings.url is None:
            raise SettingsError(
                "venue simulated has no address; start one with `carryflow exchange up` and name it with "
                "-o venue.url=http://127.0.0.1:8700, or take a real venue with -o venue.name=binance"
            )
        self.settings = settings
        self.dialect = DIALECTS[settings.name]
        self.budget = RequestBudget(settings.requests_in_flight) if budget is None else budget
        self.exchange = self._make()
        if prepare is not None:
            prepare(self.exchange)
        if settings.url is not None:
            self.exchange.urls["api"] = self._redirect(self.exchange.urls["api"], settings.url)
        read_strictly(self.exchange, self.budget, settings.longest_pause_seconds, minute)

    def _make(self) -> Any:
        """Return ccxt's exchange as the settings want it."""
        return getattr(ccxt, self.dialect.ccxt_class)(self._config())

    def _redirect(self, urls: Any, base: str) -> Any:
        """Return the exchange's tree of URLs with all of them led to `base`."""
        return redirect(urls, base)

    def _config(self) -> dict[str, Any]:
        """Return what ccxt's class is told when an exchange is made."""
        return {
            # TLS says goodbye for a while after the last answer; plain HTTP does not
            "timeout_on_exit": 0 if (self.settings.url or "").startswith("http:") else 250,
            "enableRateLimit": self.settings.name != "simulated",
            "timeout": round(self.settings.request_timeout_seconds * 1000),
            "options": dict(self.dialect.options),
        }

    async def __aenter__(self) -> Self:
        """Load what the venue lists."""
        try:
            await self.ask(self.exchange.load_markets)
        except BaseException:
            await self.exchange.close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the sockets."""
        await self.exchange.close()

    async def ask(self, call: Callable[..., Awaitable[Answer]], *args: Any, **kwargs: Any) -> Answer:
        """Send one request through ccxt, again if the venue was not there, and return its answer.

        Raises:
            RetryableError: the venue did not answer, however often it was asked.
            UnknownTickerError: the venue does not know the symbol.
            RejectedError: the venue refused, or has banned this address.
        """
        wait = self.settings.backoff_seconds
        for attempt in range(self.settings.retries + 1):
            try:
                return await call(*args, **kwargs)
            except ccxt.BaseError as error:
                if not _may_come_back(error) or attempt == self.settings.retries:
                    raise self._in_our_words(error) from error
                if isinstance(error, (ccxt.DDoSProtection, ccxt.RateLimitExceeded)):
                    self.budget.pause(wait)  # all of us asked too often, whoever was told
                else:
                    await asyncio.sleep(wait)
            wait *= 2
        raise AssertionError("the last attempt returns or raises")

    async def now_ms(self) -> int:
        """Return what the venue's clock says, milliseconds since 1970, whatever this machine's says."""
        return int(await self.ask(self.exchange.fetch_time))

    async def clock_ms(self, machine_ms: int) -> int:
        """Return the venue's own clock, milliseconds since 1970.

        The simulated exchange plays the past; every other venue must agree with this machine's clock.

        Raises:
            VenueError: the two clocks are more than a minute apart.
        """
        venue_ms = await self.now_ms()
        if self.settings.name != "simulated" and abs(venue_ms - machine_ms) > MAX_CLOCK_SKEW_MS:
            here, there = (datetime.fromtimestamp(ms / 1000, UTC) for ms in (machine_ms, venue_ms))
            raise VenueError(
                f"{self.settings.name}'s clock says {there:%Y-%m-%d %H:%M:%S} and this machine's "
                f"{here:%Y-%m-%d %H:%M:%S} (UTC), {abs(venue_ms - machine_ms) / 1000:.0f} s apart: which bar "
                "has closed cannot be told; set this machine's clock (NTP), or look at the venue's status"
            )
        return venue_ms

    @property
    def tape_id(self) -> str:
        """Return the tape that a simulated exchange plays; "live" for a real venue."""
        headers = {k.lower(): v for k, v in (self.exchange.last_response_headers or {}).items()}
        return str(headers.get(TAPE_HEADER.lower(), "live"))

    def has(self, feature: str) -> bool:
        """Say whether ccxt can ask this venue for a feature, such as `fetchIndexOHLCV`."""
        return bool(self.exchange.has.get(feature))

    def symbol(self, leg: Leg, ticker: str, quote: str) -> str:
        """Return ccxt's name of a leg: spot, or the perpetual settled in the quote asset."""
        return f"{ticker}/{quote}" if leg == "spot" else f"{ticker}/{quote}:{quote}"

    def require_features(self, timeframe: Timeframe) -> None:
        """Do nothing if the venue has all that a fetch cannot do without.

        Raises:
            SettingsError: it has not; the message names what is missing, and what would do.
        """
        name = self.settings.name
        lacking = [words for feature, words in _FEATURES.items() if not self.has(feature)]
        if lacking:
            raise SettingsError(
                f"{name} gives no {', no '.join(lacking)} through ccxt, which a hedged position cannot do "
                "without; choose another venue.name"
            )
        if timeframe not in self.exchange.timeframes:
            raise SettingsError(
                f"{name} has no bars of {timeframe}; it has {', '.join(self.exchange.timeframes)}: "
                "set data.timeframe"
            )

    def require_listed(self, tickers: tuple[str, ...], quote: str) -> None:
        """Do nothing if the venue lists both legs of every ticker.

        Raises:
            MarketDataError: the venue lists no coin at all with both legs in this quote asset.
            UnknownTickerError: it does not list one of these.
        """
        pairs = self._pairs()
        here = {base for base, asset in pairs if asset == quote}
        if not here:
            quotes = ", ".join(sorted({asset for _, asset in pairs})) or "none"
            raise MarketDataError(
                f"{self.settings.name} lists no coin with both spot and a linear perpetual in {quote}; "
                f"quote assets that would do: {quotes} (set data.quote)"
            )
        require_known(tickers, here, f"{self.settings.name}, in {quote},")

    def _pairs(self) -> set[tuple[str, str]]:
        """Return the (base, quote) that have a spot market and a linear perpetual settled in the quote."""
        markets = self.exchange.markets.values()
        spot = {(m["base"], m["quote"]) for m in markets if m["spot"]}
        swaps = [m for m in markets if m["swap"] and m["linear"]]
        return spot & {(m["base"], m["quote"]) for m in swaps if m["settle"] == m["quote"]}

    def _in_our_words(self, error: Exception) -> CarryflowError:
        """Translate one of ccxt's errors."""
        name, said = self.settings.name, scrub(" ".join(str(error).split()))[:200]
        if isinstance(error, ccxt.BadSymbol):
            return UnknownTickerError(f"{name} does not know a symbol: {said}; set data.tickers")
        if _may_come_back(error):
            tries = self.settings.retries + 1
            way_out = (
                f"is `carryflow exchange up` running at {self.settings.url} (venue.url)?"
                if name == "simulated"
                else "check the connection and try again; what was fetched is kept"
            )
            return RetryableError(
                f"{name} did not answer {tries} times: {type(error).__name__} {said}; {way_out}"
            )
        return RejectedError(f"{name} refused: {type(error).__name__} {said}; asking again changes nothing")


def _may_come_back(error: Exception) -> bool:
    """Say whether asking again may help: no answer, too many requests, the venue's own fault, half an answer.

    ccxt counts an answer that broke off in the middle as a refusal; aiohttp's error behind it tells.
    """
    return isinstance(error, ccxt.OperationFailed) or isinstance(error.__cause__, aiohttp.ClientError)
