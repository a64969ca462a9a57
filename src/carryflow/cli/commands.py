"""Every command of `carryflow`."""

import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
import yaml
from rich.console import Console
from rich.progress import Progress

from carryflow.core.errors import CarryflowError

if TYPE_CHECKING:
    from carryflow.settings import Settings

app = typer.Typer(
    help="Learn, prove, serve and trade the crypto funding carry.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
exchange_app = typer.Typer(
    help="The simulated exchange: Binance's REST protocol over a tape.", no_args_is_help=True
)
pipeline_app = typer.Typer(help="The weekly graph on Kubeflow Pipelines.", no_args_is_help=True)
app.add_typer(exchange_app, name="exchange")
app.add_typer(pipeline_app, name="pipeline")

console = Console(file=sys.stdout, highlight=False, width=None if sys.stdout.isatty() else 120)
"""Bound to the terminal itself: a step's output is redirected to the log, what a person sees is not."""

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
From = Annotated[str | None, typer.Option("--from", help="First hour, such as 2023-01-01 (UTC).")]
To = Annotated[str | None, typer.Option("--to", help="Hours before this instant, such as 2025-04-30 (UTC).")]
Venue = Annotated[str | None, typer.Option(help="simulated, binance, bybit, okx or deribit.")]


def main() -> None:
    """Run the command line; a known problem is one line on standard error and exit code 1."""
    try:
        app()
    except CarryflowError as error:
        Console(stderr=True, highlight=False).print(
            f"error: {error}", style="red", markup=False, soft_wrap=True
        )
        sys.exit(1)


@app.command()
def run(
    config: Config = None,
    override: Override = None,
    tape: Tape = None,
    tickers: Tickers = None,
    start: From = None,
    end: To = None,
    venue: Venue = None,
) -> None:
    """Run the whole weekly loop on this machine: fetch, learn, prove, promote, serve and ask."""
    from carryflow.cli.loop import run_loop

    settings = _resolve(config, override, tape, tickers, start, end, venue)
    with _venue(settings) as reachable:
        run_loop(reachable, console)


@app.command()
def fetch(
    config: Config = None,
    override: Override = None,
    tape: Tape = None,
    tickers: Tickers = None,
    start: From = None,
    end: To = None,
    venue: Venue = None,
) -> None:
    """Fetch the hours that are new at the venue into data/crypto/."""
    from carryflow.cli.loop import alone
    from carryflow.venues.ccxt_market import fetch_market

    settings = _resolve(config, override, tape, tickers, start, end, venue)
    folder = settings.home_dir / "data" / "crypto"
    with alone(settings.home_dir), _venue(settings) as reachable, Progress(console=console) as bars:
        tasks = {ticker: bars.add_task(ticker, total=None) for ticker in settings.data.tickers}

        def show(ticker: str, done: int, hours: int) -> None:
            bars.update(tasks[ticker], completed=done, total=hours)

        snapshot = fetch_market(folder, reachable.venue, reachable.data, show)
    for coverage in snapshot.coverage:
        console.print(coverage.words)
    console.print(f"{snapshot.rows_new} new bars in {folder}, version {snapshot.version}")


@app.command()
def serve(config: Config = None, override: Override = None, tape: Tape = None, venue: Venue = None) -> None:
    """Serve the champion through KServe until interrupted."""
    settings = _resolve(config, override, tape, None, None, None, venue)
    sys.argv = sys.argv[:1]  # KServe takes the command line of whoever imports it for its own
    from serving.predictor import serve_champion

    serve_champion(settings)


@app.command(name="settings")
def show_settings(config: Config = None, override: Override = None) -> None:
    """Print every setting as resolved, and the hash that names the resolution."""
    settings = _resolve(config, override)
    console.print(f"# hash: {settings.hash}", markup=False)
    console.print(
        yaml.safe_dump(settings.model_dump(mode="json"), sort_keys=False), markup=False, soft_wrap=True
    )


@exchange_app.command("up")
def exchange_up(
    config: Config = None,
    override: Override = None,
    tape: Tape = None,
    tickers: Tickers = None,
    start: From = None,
    end: To = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes any free one.")] = None,
) -> None:
    """Start the simulated exchange and keep it up until interrupted."""
    from carryflow.venues.simulated.server import open_tape, serve_exchange

    overrides = [*(override or []), *([] if port is None else [f"exchange.port={port}"])]
    settings = _resolve(config, overrides, tape, tickers, start, end)
    exchange = settings.exchange
    named = settings.data.tickers if tickers else None
    played = open_tape(exchange, named, settings.data.start, settings.data.end)
    serve_exchange(played, exchange.host, exchange.port, announce=console.print)


@pipeline_app.command("compile")
def pipeline_compile(
    out: Annotated[Path, typer.Argument(help="File to write.")] = Path("build/retrain.yaml"),
    config: Config = None,
    override: Override = None,
) -> None:
    """Write the graph as IR YAML for Kubeflow, with the settings as resolved for its default parameters."""
    from pipelines.cluster import compile_retrain
    from pipelines.retrain import SECTIONS

    settings = _resolve(config, override)
    compile_retrain(settings.seed, settings.sections(*SECTIONS), out)
    console.print(f"wrote {out}")


@pipeline_app.command("submit")
def pipeline_submit(
    host: Annotated[str, typer.Option(envvar="KFP_HOST", help="URL of the Kubeflow Pipelines API.")],
    package: Annotated[Path, typer.Option(help="Compiled graph.")] = Path("build/retrain.yaml"),
    experiment: Annotated[
        str, typer.Option(help="Experiment that keeps the run history.")
    ] = "weekly-retrain",
) -> None:
    """Submit a compiled graph as one run and print its id."""
    from pipelines.cluster import submit

    console.print(submit(package, host, experiment, token=os.environ.get("KFP_TOKEN")))


def _resolve(
    config: Path | None,
    override: list[str] | None,
    tape: Path | None = None,
    tickers: str | None = None,
    start: str | None = None,
    end: str | None = None,
    venue: str | None = None,
) -> "Settings":
    """Resolve the settings; an option is a shorter way to write an override."""
    from carryflow.settings import resolve

    options = {
        "exchange.tape": tape and str(tape.absolute()),
        "data.tickers": tickers and f"[{tickers}]",
        "data.start": start,
        "data.end": end,
        "venue.name": venue,
    }
    shorthand = [f"{key}={value}" for key, value in options.items() if value is not None]
    return resolve(config, os.environ, [*(override or []), *shorthand])


@contextmanager
def _venue(settings: "Settings") -> Iterator["Settings"]:
    """Lend the settings with a venue that answers: a simulated exchange is started where none is named."""
    if settings.venue.name != "simulated" or settings.venue.url is not None:
        yield settings
        return
    from carryflow.market.data import to_ms
    from carryflow.venues.simulated.server import open_tape, start_exchange

    with start_exchange(open_tape(settings.exchange), settings.exchange.host, port=0) as exchange:
        if settings.data.end is not None:
            exchange.set_clock(min(exchange.now_ms, to_ms(settings.data.end)))
        venue = settings.venue.model_copy(update={"url": exchange.url})
        yield settings.model_copy(update={"venue": venue})
