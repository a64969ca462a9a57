"""The commands that trade: on paper, in a sandbox, with real money; and the one that closes everything."""

import os
from typing import TYPE_CHECKING, Annotated

import typer

from carryflow.cli.app import app
from carryflow.cli.options import Config, Override, Tape, Tickers, Venue, resolve
from carryflow.core.errors import SettingsError

if TYPE_CHECKING:
    from collections.abc import Callable

    from carryflow.execution.journal.records import Mode
    from carryflow.settings import Settings

PolicyName = Annotated[
    str, typer.Option("--policy", help="champion; or hedged or flat, references that look at nothing.")
]
Hours = Annotated[
    float | None,
    typer.Option(min=0.01, help="Stop after so many hours of the venue's clock; positions are kept."),
]
MetricsPort = Annotated[
    int | None,
    typer.Option(
        min=0, max=65535, help="Port on this machine for Prometheus to read metrics from; 0: any free one."
    ),
]


@app.command()
def paper(
    config: Config = None,
    override: Override = None,
    tape: Tape = None,
    tickers: Tickers = None,
    venue: Venue = None,
    policy: PolicyName = "champion",
    hours: Hours = None,
    metrics_port: MetricsPort = None,
) -> None:
    """Trade on paper: live books and bars, signals, imagined fills. Nothing is sent, all is journalled.

    Without an address of a venue, a simulated exchange plays the tape's last day beside it, in two minutes.
    """
    from carryflow.execution.journal.records import Mode

    settings = resolve(config, override, tape=tape, tickers=tickers, venue=venue)
    _run(settings, Mode.PAPER, policy, hours, metrics_port)


@app.command()
def trade(
    config: Config = None,
    override: Override = None,
    tape: Tape = None,
    tickers: Tickers = None,
    venue: Venue = None,
    sandbox: Annotated[bool, typer.Option("--sandbox", help="Trade on the venue's test network.")] = False,
    live: Annotated[
        bool, typer.Option("--live", help="Trade real money; execution.live=true is needed, too.")
    ] = False,
    policy: PolicyName = "champion",
    hours: Hours = None,
    metrics_port: MetricsPort = None,
) -> None:
    """Trade: with --sandbox on the venue's test network or the simulated exchange, with --live real money.

    The key is read from CARRYFLOW_API_KEY, CARRYFLOW_API_SECRET and, where the venue asks for one,
    CARRYFLOW_API_PASSPHRASE.
    """
    from carryflow.cli.trading.preparation import read_credentials
    from carryflow.execution.journal.records import Mode
    from carryflow.execution.limits.admission import require_switches

    settings = resolve(config, override, tape=tape, tickers=tickers, venue=venue)
    if sandbox == live:
        raise SettingsError(
            "say what money is traded: --sandbox on the venue's test network, or --live real money"
        )
    mode = Mode.LIVE if live else Mode.SANDBOX
    if mode is Mode.LIVE and settings.venue.name == "simulated":
        raise SettingsError(
            "the simulated exchange has no real money; name a venue with --venue, or trade it with --sandbox"
        )
    if mode is Mode.LIVE:
        _require_all(
            lambda: require_switches(mode, live, settings.execution), lambda: read_credentials(settings)
        )
    _run(settings, mode, policy, hours, metrics_port)


def _require_all(*checks: "Callable[[], object]") -> None:
    """Do nothing if all checks pass.

    Raises:
        SettingsError: some do not; all that is missing is named at once.
    """
    missing = []
    for check in checks:
        try:
            check()
        except SettingsError as error:
            missing.append(str(error))
    if missing:
        raise SettingsError("; ".join(missing))


def _run(
    settings: "Settings", mode: "Mode", policy: str, hours: float | None, metrics_port: int | None
) -> None:
    from carryflow.cli.trading.policies import require_policy
    from carryflow.cli.trading.preparation import prepare
    from carryflow.cli.trading.running import run_session

    require_policy(policy)
    settings.require_hourly()
    with prepare(settings, mode, policy, hours, os.environ) as ready:
        run_session(ready, metrics_port)
