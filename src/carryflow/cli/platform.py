"""The commands of the platform: the simulated exchange, and the graphs on Kubeflow Pipelines."""

import os
from contextlib import suppress
from pathlib import Path
from threading import Event
from typing import TYPE_CHECKING, Annotated

import typer

from carryflow.cli.app import console, group
from carryflow.cli.options import Config, Override, Since, Tape, Tickers, Until, resolve
from carryflow.cli.trading.beside import wallets

if TYPE_CHECKING:
    from carryflow.settings import Settings
    from carryflow.venues.simulated.server import RunningExchange

exchange_app = group("exchange", "The simulated exchange: Binance's REST and websockets over a tape.")
pipeline_app = group("pipeline", "The weekly and the hourly graph on Kubeflow Pipelines.")


@exchange_app.command("up")
def exchange_up(
    config: Config = None,
    override: Override = None,
    tape: Tape = None,
    tickers: Tickers = None,
    since: Since = None,
    until: Until = None,
    port: Annotated[int | None, typer.Option(help="Port to listen on; 0 takes any free one.")] = None,
    trade: Annotated[
        bool,
        typer.Option(
            "--trade",
            help="Let clients trade; the key in CARRYFLOW_API_KEY and CARRYFLOW_API_SECRET, if there is one, "
            "gets an account with execution.capital_quote.",
        ),
    ] = False,
    speed: Annotated[
        float | None,
        typer.Option(help="Seconds of its clock in one second: 1 is real time; 0: it stands at the end."),
    ] = None,
    control_port: Annotated[
        int | None, typer.Option(help="Port to open accounts and to let things go wrong on; implies --trade.")
    ] = None,
) -> None:
    """Start the simulated exchange and keep it up until interrupted."""
    options = {"port": port, "speed": speed, "control_port": control_port}
    given = [f"exchange.{name}={value}" for name, value in options.items() if value is not None]
    settings = resolve(
        config, [*(override or []), *given], tape=tape, tickers=tickers, since=since, until=until
    )
    _serve(settings, trade=trade or settings.exchange.control_port is not None, named=tickers is not None)


def _serve(settings: "Settings", *, trade: bool, named: bool) -> None:
    from carryflow.market.data import to_ms, utc
    from carryflow.venues.simulated.server import start_exchange
    from carryflow.venues.simulated.settings import open_tape

    exchange = settings.exchange
    played = open_tape(
        exchange, settings.data.tickers if named else None, settings.data.start, settings.data.end
    )
    with start_exchange(
        played,
        exchange.host,
        exchange.port,
        trading=exchange.trading if trade else None,
        start_ms=None if exchange.start is None else to_ms(utc(exchange.start)),
        speed=exchange.speed,
        control_port=exchange.control_port,
    ) as running:
        if trade:
            _open_account(running, settings)
        for url in (running.url, running.control_url):
            if url is not None:
                console.print(url)
        with suppress(KeyboardInterrupt):
            Event().wait()


def _open_account(running: "RunningExchange", settings: "Settings") -> None:
    """Give the key that stands in the environment, if one does, an account with the capital in it."""
    from carryflow.venues.credentials import Credentials

    if not {"CARRYFLOW_API_KEY", "CARRYFLOW_API_SECRET"} <= os.environ.keys():
        return
    key = Credentials.from_environment(os.environ)
    spot, futures = wallets(settings)
    running.open_account(key.key, key.secret, {settings.data.quote: spot}, futures)
    console.print(
        f"the key in CARRYFLOW_API_KEY has {spot:,f} {settings.data.quote} in its spot wallet and "
        f"{futures:,f} in that of the futures",
        soft_wrap=True,
    )


@pipeline_app.command("compile")
def pipeline_compile(
    out: Annotated[Path | None, typer.Argument(help="File to write; by default build/<graph>.yaml.")] = None,
    graph: Annotated[str, typer.Option(help="retrain (weekly) or ingest (hourly).")] = "retrain",
    config: Config = None,
    override: Override = None,
) -> None:
    """Write a graph as IR YAML for Kubeflow, with the settings as resolved for its default parameters."""
    from pipelines.cluster import compile_graph, find_graph

    settings = resolve(config, override)
    settings.require_hourly()
    package = out or Path("build", f"{graph}.yaml")
    compile_graph(graph, settings.seed, settings.sections(*find_graph(graph).sections), package)
    console.print(f"wrote {package}")


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
