"""Which hours of which coins, and what may be missing from them."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated, Literal, Self

from pydantic import AfterValidator, Field, model_validator

from carryflow.core.section import Section
from carryflow.market.timeframe import Timeframe


def utc(moment: datetime) -> datetime:
    """Return the moment in UTC; one without a zone is taken to be UTC already.

    >>> utc(datetime(2025, 1, 1)).isoformat()
    '2025-01-01T00:00:00+00:00'
    """
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


UtcDatetime = Annotated[datetime, AfterValidator(utc)]


def to_ms(moment: datetime) -> int:
    """Return the milliseconds since 1970 of a moment that knows its zone.

    >>> to_ms(datetime(2025, 1, 1, tzinfo=UTC))
    1735689600000
    """
    return round(moment.timestamp() * 1000)


class DataSettings(Section):
    """Choose the hours, the coins and the gaps that are tolerated."""

    tickers: tuple[str, ...] = Field(
        ("BTC", "ETH", "SOL"), min_length=1, description="coins, by the ticker of their base asset"
    )
    quote: str = Field("USDT", min_length=2, description="asset that both legs are priced and settled in")
    start: UtcDatetime | None = Field(None, description="first hour wanted (UTC); empty: all the venue has")
    end: UtcDatetime | None = Field(None, description="hours before this instant (UTC); empty: up to now")
    timeframe: Timeframe = Field("1h", description="length of a bar, from 1m to 1d")
    max_halt_hours: int = Field(24, ge=0, le=168, description="longest halt of spot trading tolerated, hours")
    mark: Literal["required", "perp"] = Field(
        "perp",
        description="where the venue published no mark price: refuse the hours, or take the perpetual's own",
    )
    sentiment: Path | None = Field(
        None,
        description="series of the crowd's mood (Parquet or CSV: timestamp and one value column); a stamp is "
        "the instant of publication: shift a series that is dated by the day it describes",
    )

    @model_validator(mode="after")
    def _in_order(self) -> Self:
        if self.start is not None and self.end is not None and self.start >= self.end:
            raise ValueError(f"start {self.start} must be before end {self.end}")
        if len(set(self.tickers)) < len(self.tickers):
            raise ValueError(f"tickers {self.tickers} name a coin twice")
        return self
