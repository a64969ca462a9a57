"""The commands of the platform: the simulated exchange, and the graphs on Kubeflow Pipelines."""

import os
from pathlib import Path
from typing import Annotated

import typer

from carryflow.cli.app import console, group
from carryflow.cli.options import Config, Override, Since, Tape, Tickers, Until, resolve

exchange_app = group("exchange", "The simulated exchange: Binance's REST protocol over a tape.")
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
) -> None:
    """Start the simulated exchange and keep it up until interrupted."""
    from carryflow.venues.simulated.server import open_tape, serve_exchange

    overrides = [*(override or []), *([] if port is None else [f"exchange.port={port}"])]
    settings = resolve(config, overrides, tape=tape, tickers=tickers, since=since, until=until)
    exchange = settings.exchange
    named = settings.data.tickers if tickers else None
    played = open_tape(exchange, named, settings.data.start, settings.data.end)
    serve_exchange(played, exchange.host, exchange.port, announce=console.print)


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
