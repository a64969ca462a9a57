"""What commands share: options, the settings that they resolve to, and a venue that answers."""

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from carryflow.settings import Settings

Config = Annotated[Path | None, typer.Option("--config", "-c", help="YAML file of settings.")]
Override = Annotated[
    list[str] | None,
    typer.Option("--override", "-o", help="One setting, such as train.iterations=5; may be repeated."),
]
Tape = Annotated[
    Path | None,
    typer.Option(help="Folder of recorded hours (spot_BTC.parquet, …) for the simulated exchange to play."),
]
Tickers = Annotated[str | None, typer.Option(help="Coins, such as BTC,ETH,SOL.")]
Since = Annotated[str | None, typer.Option("--since", "--from", help="First hour, such as 2023-01-01 (UTC).")]
Until = Annotated[
    str | None, typer.Option("--until", "--to", help="Hours before this instant, such as 2025-04-30 (UTC).")
]
Venue = Annotated[str | None, typer.Option(help="simulated, binance, bybit, okx or deribit.")]
Venues = Annotated[
    str | None,
    typer.Option("--venues", "--venue", help="One or more of simulated, binance, bybit, okx, deribit."),
]
Bars = Annotated[str | None, typer.Option("--timeframe", help="Length of a bar, 1m to 1d; by default 1h.")]


def resolve(
    config: Path | None,
    override: list[str] | None,
    *,
    tape: Path | None = None,
    tickers: str | None = None,
    since: str | None = None,
    until: str | None = None,
    venue: str | None = None,
    timeframe: str | None = None,
) -> "Settings":
    """Resolve the settings; an option is a shorter way to write an override.

    Raises:
        SettingsError: a setting is unknown, ill-typed or out of range.
    """
    from carryflow.settings import resolve as resolve_settings

    options = {
        "exchange.tape": tape and str(tape.absolute()),
        "data.tickers": tickers and f"[{tickers}]",
        "data.start": since,
        "data.end": until,
        "data.timeframe": timeframe,
        "venue.name": venue,
    }
    shorthand = [f"{key}={value}" for key, value in options.items() if value is not None]
    return resolve_settings(config, os.environ, [*(override or []), *shorthand])


@contextmanager
def reachable(settings: "Settings") -> Iterator["Settings"]:
    """Lend the settings with a venue that answers: a simulated exchange is started where none is named."""
    if settings.venue.name != "simulated" or settings.venue.url is not None:
        yield settings
        return
    from carryflow.market.data import to_ms
    from carryflow.venues.simulated.server import start_exchange
    from carryflow.venues.simulated.settings import open_tape

    tickers = settings.data.tickers if settings.exchange.tape else None
    with start_exchange(open_tape(settings.exchange, tickers), settings.exchange.host, port=0) as exchange:
        if settings.data.end is not None:
            exchange.set_clock(min(exchange.now_ms, to_ms(settings.data.end)))
        venue = settings.venue.model_copy(update={"url": exchange.url})
        yield settings.model_copy(update={"venue": venue})
