"""The command that puts policies under stress: scenarios as data, a verdict on each, a table and a page."""

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from carryflow.cli.app import app, console
from carryflow.cli.options import Config, Override, resolve
from carryflow.core.errors import SettingsError

if TYPE_CHECKING:
    from carryflow.cli.stress_players import Players
    from carryflow.env.stress.scenario import Scenario
    from carryflow.evaluation.stress.run import Outcome
    from carryflow.settings import Settings

TICKER = "SOL"
"""The coin that is struck where none is named: the flash crash is its own."""


@app.command()
def stress(
    scenario: Annotated[
        list[str] | None,
        typer.Option("--scenario", "-s", help="One scenario; may be repeated; by default all."),
    ] = None,
    policy: Annotated[
        list[str] | None,
        typer.Option("--policy", help="One policy; may be repeated; by default all references and bundles."),
    ] = None,
    parameter: Annotated[
        list[str] | None,
        typer.Option("--param", "-p", help="One parameter, such as squeeze.size=0.4; may be repeated."),
    ] = None,
    bundle: Annotated[Path | None, typer.Option(help="Folder of a bundle to put under stress, too.")] = None,
    champion: Annotated[
        bool, typer.Option("--champion", help="Put the home's champion under stress, too.")
    ] = False,
    tape: Annotated[
        Path | None,
        typer.Option(help="Folder of recorded hours (spot_SOL.parquet, …) to strike, not the calm market."),
    ] = None,
    tickers: Annotated[str | None, typer.Option(help="Coins, such as BTC,ETH,SOL; by default SOL.")] = None,
    at: Annotated[
        str | None,
        typer.Option("--at", help="With --tape: the instant of the shock, such as 2022-11-08T17 (UTC)."),
    ] = None,
    show: Annotated[
        bool, typer.Option("--list", help="Show scenarios with parameters, units and source, and end.")
    ] = False,
    config: Config = None,
    override: Override = None,
) -> None:
    """Put policies under stress: what is left of them after a squeeze, a crash, a halt, a depeg.

    Two seeds: `-p SCENARIO.seed=…` for what a scenario draws, `-o seed=…` for the scalers' six months.
    """
    from carryflow.cli.stress_players import Players
    from carryflow.env.stress.choice import choose

    scenarios = choose(scenario or (), parameter or ())
    if show:
        from carryflow.cli.stress_tables import scenarios_table

        console.print(scenarios_table(scenarios))
        return
    settings = resolve(config, override, tape=tape, tickers=tickers or TICKER)
    shock_ms = _instant(tape, at)
    players = Players(settings, policy or (), bundle, champion=champion)
    outcomes, ground = _play(settings, scenarios, players, tape, shock_ms)
    _report(settings, outcomes, ground)


def _play(
    settings: "Settings",
    scenarios: "tuple[Scenario, ...]",
    players: "Players",
    tape: Path | None,
    shock_ms: int | None,
) -> "tuple[list[Outcome], str]":
    from carryflow.env.stress.ground import Ground
    from carryflow.evaluation.formats import format_hour
    from carryflow.evaluation.stress.run import stress as put_under_stress

    outcomes: list[Outcome] = []
    words = "A calm seeded market"
    with console.status("putting policies under stress") as status:
        for ticker in settings.data.tickers:
            if tape is None or shock_ms is None:
                ground = Ground.synthetic(ticker, settings.seed)
            else:
                ground = Ground.recorded(tape, ticker, shock_ms)
                words = f"Recorded hours of {tape} around {format_hour(shock_ms)}"
            outcomes += put_under_stress(
                scenarios, list(players.on(ground)), ground, settings.data, status.update
            )
    return outcomes, words


def _instant(tape: Path | None, at: str | None) -> int | None:
    from carryflow.market.data import to_ms, utc
    from carryflow.market.timeframe import HOUR_MS

    if (tape is None) != (at is None):
        raise SettingsError(
            "--tape FOLDER and --at INSTANT go together: recorded hours, and when the shock comes"
        )
    if tape is None or at is None:
        return None
    if not tape.is_dir():
        raise SettingsError(f"--tape {tape} is no folder of recorded hours (spot_SOL.parquet, …)")
    try:
        instant = to_ms(utc(datetime.fromisoformat(at)))
    except ValueError:
        raise SettingsError(f"--at {at!r} is no instant; write it as 2022-11-08T17 (UTC)") from None
    if instant % HOUR_MS:
        raise SettingsError(f"--at {at}: a shock begins on the hour; write it as 2022-11-08T17")
    return instant


def _report(settings: "Settings", outcomes: "list[Outcome]", ground: str) -> None:
    from carryflow.cli.stress_tables import verdict_table
    from carryflow.evaluation.stress.report import JSON_FILE, REPORT_FILE, write_json, write_report

    folder = settings.home_dir / "stress"
    try:
        verdicts = write_json(folder / JSON_FILE, outcomes, ground)
        page = write_report(folder / REPORT_FILE, outcomes, ground)
    except OSError as error:
        raise SettingsError(
            f"cannot write in {folder}: {error.strerror}; name another folder with -o home=…"
        ) from None
    console.print(verdict_table(outcomes, console))
    console.print(f"verdicts: {verdicts}", soft_wrap=True)
    console.print(f"report: {page}", soft_wrap=True)
