"""What the simulated exchange plays, how fast, and where it listens."""

from collections.abc import Sequence
from datetime import datetime
from pathlib import Path

from pydantic import Field

from carryflow.core.section import Section
from carryflow.market.synthetic import SyntheticSettings
from carryflow.venues.simulated.tape import Tape, load_tape, synthetic_tape
from carryflow.venues.simulated.trading.settings import TradingSettings


class ExchangeSettings(Section):
    """Say what the simulated exchange plays, how fast, and where it listens."""

    host: str = Field("127.0.0.1", min_length=1, description="address to bind")
    port: int = Field(8700, ge=0, le=65535, description="port to bind; 0 takes any free one")
    control_port: int | None = Field(
        None,
        ge=0,
        le=65535,
        description="port on which tests open accounts and let things go wrong, without a password and on "
        "this machine only; empty: none",
    )
    tape: Path | None = Field(
        None, description="folder of recorded hours to play; empty: the synthetic market"
    )
    synthetic: SyntheticSettings = SyntheticSettings()
    trading: TradingSettings = TradingSettings()
    speed: float = Field(
        0.0,
        ge=0,
        le=100_000,
        description="seconds of the venue's clock in one second: 1 is real time; 0: it stands",
    )
    start: datetime | None = Field(
        None,
        description="instant (UTC) at which the clock starts; empty: at the tape's end, or a day before it "
        "if the clock runs",
    )


def open_tape(
    settings: ExchangeSettings,
    tickers: Sequence[str] | None = None,
    start: datetime | None = None,
    end: datetime | None = None,
) -> Tape:
    """Return the tape that the settings name; `start` and `end` cut recorded hours only.

    Raises:
        MarketDataError: the folder holds no such hours.
        UnknownTickerError: a ticker is not on the tape.
    """
    if settings.tape is not None:
        return load_tape(settings.tape, tickers, start, end)
    return synthetic_tape(settings.synthetic, tickers)
