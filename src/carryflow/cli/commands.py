"""The commands of the loop: run, fetch, serve, settings."""

import sys
from typing import TYPE_CHECKING

import yaml
from rich.progress import Progress

from carryflow.cli.app import app, console
from carryflow.cli.options import (
    Bars,
    Config,
    Override,
    Since,
    Tape,
    Tickers,
    Until,
    Venue,
    Venues,
    reachable,
    resolve,
)
from carryflow.core.errors import SettingsError

if TYPE_CHECKING:
    from carryflow.settings import Settings
    from carryflow.venues.ccxt_market import MarketSnapshot


@app.command()
def run(
    config: Config = None,
    override: Override = None,
    tape: Tape = None,
    tickers: Tickers = None,
    since: Since = None,
    until: Until = None,
    venue: Venue = None,
) -> None:
    """Run the whole weekly loop on this machine: fetch, learn, prove, promote, serve and ask."""
    from carryflow.cli.loop import run_loop

    settings = resolve(config, override, tape=tape, tickers=tickers, since=since, until=until, venue=venue)
    settings.require_hourly()
    with reachable(settings) as answered:
        run_loop(answered, console)


@app.command()
def fetch(
    config: Config = None,
    override: Override = None,
    tape: Tape = None,
    tickers: Tickers = None,
    since: Since = None,
    until: Until = None,
    venues: Venues = None,
    timeframe: Bars = None,
) -> None:
    """Fetch what is new at each venue into its home: bars, marks, funding, books and contract terms."""
    for venue in venues.split(",") if venues else [None]:
        settings = resolve(
            config,
            override,
            tape=tape,
            tickers=tickers,
            since=since,
            until=until,
            venue=venue and venue.strip(),
            timeframe=timeframe,
        )
        if venues and "," in venues and settings.home is not None:
            raise SettingsError(
                f"home={settings.home} would mix the hours of {venues}; leave it out, and each venue gets "
                "a home of its own"
            )
        _report(settings, _fetch(settings))


@app.command()
def serve(config: Config = None, override: Override = None, tape: Tape = None, venue: Venue = None) -> None:
    """Serve the champion through KServe until interrupted."""
    settings = resolve(config, override, tape=tape, venue=venue)
    sys.argv = sys.argv[:1]  # KServe takes the command line of whoever imports it for its own
    from serving.predictor import serve_champion

    serve_champion(settings)


@app.command(name="settings")
def show_settings(config: Config = None, override: Override = None) -> None:
    """Print every setting as resolved, and the hash that names the resolution."""
    settings = resolve(config, override)
    console.print(f"# hash: {settings.hash}", markup=False)
    console.print(
        yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False), markup=False, soft_wrap=True
    )


def _fetch(settings: "Settings") -> "MarketSnapshot":
    from carryflow.cli.loop import alone
    from carryflow.venues.ccxt_market import fetch_market

    with alone(settings.home_dir), reachable(settings) as answered, Progress(console=console) as bars:
        tasks = {ticker: bars.add_task(ticker, total=None) for ticker in settings.data.tickers}

        def show(ticker: str, done: int, total: int) -> None:
            bars.update(tasks[ticker], completed=done, total=total)

        return fetch_market(settings.market_dir, answered.venue, answered.data, show)


def _report(settings: "Settings", snapshot: "MarketSnapshot") -> None:
    for coverage in snapshot.coverage:
        console.print(coverage.words)
    console.print(f"{snapshot.rows_new} new bars in {settings.market_dir}, version {snapshot.version}")
