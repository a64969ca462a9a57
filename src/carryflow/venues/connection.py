"""One venue through ccxt's unmodified classes: two legs, a budget of requests, errors in our words."""

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Self, TypeVar
from urllib.parse import urlsplit

import ccxt.async_support as ccxt

from carryflow.core.errors import (
    CarryflowError,
    MarketDataError,
    RejectedError,
    RetryableError,
    SettingsError,
    UnknownTickerError,
)
from carryflow.market.coins import require_known
from carryflow.market.schema import LEGS, Leg
from carryflow.venues.settings import TAPE_HEADER, VenueName, VenueSettings

Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class VenueLimits:
    """Hold what a venue gives in one answer, and whether asking for bars since 0 finds its first one."""

    bars: int
    levels: int
    finds_first: bool = False


LIMITS: dict[VenueName, VenueLimits] = {
    "simulated": VenueLimits(bars=1000, levels=100, finds_first=True),
    "binance": VenueLimits(bars=1000, levels=1000, finds_first=True),
    "bybit": VenueLimits(bars=200, levels=200),
    "okx": VenueLimits(bars=100, levels=400),
    "deribit": VenueLimits(bars=700, levels=1000),
}


def redirect(urls: Any, base: str) -> Any:
    """Return a tree of URLs with every host replaced by `base`; paths stay.

    >>> redirect({"public": "https://api.binance.com/api/v3"}, "http://127.0.0.1:8700")
    {'public': 'http://127.0.0.1:8700/api/v3'}
    """
    if isinstance(urls, dict):
        return {key: redirect(value, base) for key, value in urls.items()}
    return base.rstrip("/") + urlsplit(urls).path


class VenueConnection:
    """Ask one venue for both legs; an asynchronous context manager that closes its sockets.

    A request that the venue did not answer is sent again, later and later; one that it refused is not.
    """

    def __init__(self, settings: VenueSettings) -> None:
        self.settings = settings
        self.limits = LIMITS[settings.name]
        self._gate = asyncio.Semaphore(settings.requests_in_flight)
        self.legs: dict[Leg, Any] = _exchanges(settings)

    async def __aenter__(self) -> Self:
        """Load what the venue lists."""
        try:
            for exchange in self._distinct():
                await self.ask(exchange.load_markets)
        except BaseException:
            await self._close()
            raise
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close the sockets."""
        await self._close()

    async def ask(self, call: Callable[..., Awaitable[Answer]], *args: Any, **kwargs: Any) -> Answer:
        """Send one request through ccxt, again if the venue was not there, and return its answer.

        Raises:
            RetryableError: the venue did not answer, however often it was asked.
            UnknownTickerError: the venue does not know the symbol.
            RejectedError: the venue refused.
        """
        wait = self.settings.backoff_seconds
        for attempt in range(self.settings.retries + 1):
            try:
                async with self._gate:
                    return await call(*args, **kwargs)
            except ccxt.BaseError as error:
                if not isinstance(error, ccxt.NetworkError) or attempt == self.settings.retries:
                    raise self._in_our_words(error) from error
            await asyncio.sleep(wait)
            wait *= 2
        raise AssertionError("the last attempt returns or raises")

    async def clock_ms(self) -> int:
        """Return the venue's own clock, milliseconds since 1970."""
        return int(await self.ask(self.legs["perp"].fetch_time))

    @property
    def tape_id(self) -> str:
        """Return the tape that a simulated exchange plays; "live" for a real venue."""
        if self.settings.name != "simulated":
            return "live"
        headers = {k.lower(): v for k, v in (self.legs["perp"].last_response_headers or {}).items()}
        return str(headers.get(TAPE_HEADER.lower(), "unnamed"))

    def symbol(self, leg: Leg, ticker: str, quote: str) -> str:
        """Return ccxt's name of a leg: spot, or the perpetual settled in the quote asset."""
        return f"{ticker}/{quote}" if leg == "spot" else f"{ticker}/{quote}:{quote}"

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
        spot = {(m["base"], m["quote"]) for m in self.legs["spot"].markets.values() if m["spot"]}
        swaps = [m for m in self.legs["perp"].markets.values() if m["swap"] and m["linear"]]
        return spot & {(m["base"], m["quote"]) for m in swaps if m["settle"] == m["quote"]}

    def _in_our_words(self, error: Exception) -> CarryflowError:
        """Translate one of ccxt's errors."""
        name, said = self.settings.name, " ".join(str(error).split())[:200]
        if isinstance(error, ccxt.BadSymbol):
            return UnknownTickerError(f"{name} does not know a symbol: {said}; set data.tickers")
        if isinstance(error, ccxt.NetworkError):
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

    def _distinct(self) -> list[Any]:
        return list({id(self.legs[leg]): self.legs[leg] for leg in LEGS}.values())

    async def _close(self) -> None:
        for exchange in self._distinct():
            await exchange.close()


def _exchanges(settings: VenueSettings) -> dict[Leg, Any]:
    """Make each leg's exchange: Binance's two classes pointed at the simulated one, or a real venue's."""
    if settings.name != "simulated":
        options = {"fetchMarkets": {"types": ["spot", "linear"]}} if settings.name == "binance" else {}
        exchange = getattr(ccxt, settings.name)({"enableRateLimit": True, "options": options})
        return {"spot": exchange, "perp": exchange}
    if settings.url is None:
        raise SettingsError(
            "venue simulated has no address; start one with `carryflow exchange up` and name it with "
            "-o venue.url=http://127.0.0.1:8700, or take a real venue with -o venue.name=binance"
        )
    spot = ccxt.binance({"enableRateLimit": False, "options": {"fetchMarkets": {"types": ["spot"]}}})
    perp = ccxt.binanceusdm({"enableRateLimit": False})
    for exchange in (spot, perp):
        exchange.urls["api"] = redirect(exchange.urls["api"], settings.url)
    return {"spot": spot, "perp": perp}
