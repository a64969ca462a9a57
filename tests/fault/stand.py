"""An engine on a simulated exchange over HTTP, and all that is needed to see what it does there."""

from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from decimal import Decimal
from pathlib import Path

from carryflow.core.instrument import Instrument
from carryflow.core.leg import LEGS, Leg
from carryflow.execution.engine import Engine
from carryflow.execution.intents import Decision
from carryflow.execution.journal.journal import Journal
from carryflow.execution.journal.records import Alert, Identity, Mode
from carryflow.execution.limits.kill import KillSwitch
from carryflow.execution.ports import Clock
from carryflow.execution.settings import ExecutionSettings, LimitSettings
from carryflow.venues.credentials import Credentials
from carryflow.venues.settings import VenueSettings
from carryflow.venues.simulated.trading.settings import TradingSettings
from carryflow.venues.trading.ccxt_trading import CcxtTradingVenue, open_trading
from carryflow.venues.trading.market_view import RestMarketView
from tests.fault.episodes import PATIENCE_SECONDS, Style
from tests.fault.market import QUOTE, TICKERS

Instruments = Mapping[tuple[Leg, str], Instrument]

CAPITAL = Decimal(90_000)
PLENTY = TradingSettings(
    spot_orders_per_10s=10**9,
    perp_orders_per_10s=10**9,
    spot_weight_per_minute=10**9,
    perp_weight_per_minute=10**9,
)
"""Limits that a clock which stands for a thousand requests does not reach."""


def execution_settings(style: Style) -> ExecutionSettings:
    """Return how the engine trades here: with limits that faults do not reach, but for the price band."""
    return ExecutionSettings(
        capital_quote=float(CAPITAL),
        style=style,
        maker_wait_seconds=4.0,
        hysteresis=0.05,
        limits=LimitSettings(max_orders_per_minute=10_000, max_feed_age_seconds=3_600.0, max_leverage=10.0),
    )


@dataclass(slots=True)
class Stand:
    """Hold an engine that has started, and what it stands on."""

    engine: Engine
    venue: CcxtTradingVenue
    journal: Journal
    clock: Clock
    alerts: list[Alert]
    kill: KillSwitch
    decided: int = 0

    def decision(self, ticker: str, fraction: float) -> Decision:
        """Return a decision of now, under a name of its own."""
        self.decided = max(self.decided, len(self.journal.decisions())) + 1
        now_ms = self.clock.now_ms()
        return Decision(f"{self.decided:016x}", ticker, fraction, now_ms, now_ms + 600_000, "a test")

    def coarser_lot(self, ticker: str) -> Decimal:
        """Return the larger step of a ticker's two markets (base)."""
        return max(self.venue.instrument(leg, ticker).lot for leg in LEGS)

    @property
    def instruments(self) -> Mapping[tuple[Leg, str], Instrument]:
        """Return the markets that are traded."""
        return {
            (leg, t): self.venue.instrument(leg, t) for leg in LEGS for t in self.journal.identity.tickers
        }


@asynccontextmanager
async def standing(
    url: str,
    credentials: Credentials,
    folder: Path,
    clock: Clock,
    style: Style,
    tickers: tuple[str, ...] = TICKERS[:2],
    patience_seconds: float = PATIENCE_SECONDS,
    seen: Callable[[Alert], None] = lambda _: None,
    over_websocket: bool = True,
) -> AsyncIterator[Stand]:
    """Start an engine in a folder, where another may have been before; at the end let go of everything."""
    venue_settings = VenueSettings(
        name="simulated",
        url=url,
        retries=5,
        backoff_seconds=0.0,
        request_timeout_seconds=patience_seconds,
        orders_over_websocket=over_websocket,
    )
    settings = execution_settings(style)
    identity = Identity(
        Mode.SANDBOX, "simulated", QUOTE, tickers, CAPITAL, settings.spot_share, clock.now_ms()
    )
    alerts: list[Alert] = []

    def ring(alert: Alert) -> None:
        alerts.append(alert)
        seen(alert)

    async with open_trading(venue_settings, tickers, QUOTE, credentials, sandbox=True, clock=clock) as venue:
        market = RestMarketView(venue.connection, QUOTE, clock)
        with Journal.open(folder / "journal.db", identity) as journal:
            kill = KillSwitch(folder / "kill.json")
            engine = Engine(venue, market, journal, settings, tickers, clock, ring, kill)
            await engine.start()
            yield Stand(engine, venue, journal, clock, alerts, kill)


async def listed(url: str, credentials: Credentials, tickers: tuple[str, ...]) -> Instruments:
    """Return the markets of some coins."""
    venue_settings = VenueSettings(name="simulated", url=url)
    async with open_trading(venue_settings, tickers, QUOTE, credentials, sandbox=True) as venue:
        return {(leg, ticker): venue.instrument(leg, ticker) for leg in LEGS for ticker in tickers}
