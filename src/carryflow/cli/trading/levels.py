"""The commands that stop and start: halt and resume. They write a file, and work with everything down."""

from typing import TYPE_CHECKING, Annotated

import typer

from carryflow.cli.app import app, console
from carryflow.cli.options import Config, Override, Tape, Venue, resolve
from carryflow.cli.trading.accounts import require_ticker
from carryflow.core.errors import SettingsError

if TYPE_CHECKING:
    from carryflow.cli.trading.place import Place
    from carryflow.settings import Settings

Modes = Annotated[
    str | None,
    typer.Option(
        "--mode",
        help="paper, sandbox or live; by default all that have run here, for one coin the one that ran last.",
    ),
]

_MEANS = {
    "pause": "decisions are not acted on any more",
    "reduce": "positions only get smaller",
    "flatten": "everything is closed",
}


@app.command()
def halt(
    config: Config = None,
    override: Override = None,
    tape: Tape = None,
    venue: Venue = None,
    mode: Modes = None,
    level: Annotated[
        str, typer.Option(help="pause: act on no decision; reduce: only get smaller; flatten: close all.")
    ] = "pause",
    reason: Annotated[str, typer.Option(help="Why; it is written down.")] = "by hand",
) -> None:
    """Stop the engine from trading, the running one and the next, in all modes or in one.

    It writes a file that the engine looks at every few seconds: no model, store or network takes part.
    """
    from carryflow.cli.trading.place import machine_ms
    from carryflow.execution.limits.kill import KillSwitch, Level

    if level not in _MEANS:
        raise SettingsError(f"--level {level} is none of {', '.join(_MEANS)}")
    for place in _places(resolve(config, override, tape=tape, venue=venue), mode):
        asked = KillSwitch(place.kill).set(Level[level.upper()], reason, "person", machine_ms())
        now = asked.level.name.lower()
        kept = (
            "" if now == level else f" (asked before, by {asked.by}: {asked.reason}; it is never made less)"
        )
        heard = "the running engine sees it within seconds" if place.running else "no engine is running"
        console.print(
            f"{place.mode.value}: {now}{kept}: {_MEANS[now]}; {heard}. `carryflow resume` lifts it.",
            soft_wrap=True,
            markup=False,
        )


@app.command()
def resume(
    ticker: Annotated[
        str | None,
        typer.Argument(help="A coin that is blocked or halted; without one the kill switch is lifted."),
    ] = None,
    config: Config = None,
    override: Override = None,
    tape: Tape = None,
    venue: Venue = None,
    mode: Modes = None,
    reason: Annotated[str, typer.Option(help="What you saw when you looked; it is written down.")] = "looked",
) -> None:
    """Lift the kill switch; or let the engine take risk in a coin again that it has blocked."""
    from carryflow.cli.trading.place import find_place
    from carryflow.execution.journal.journal import Journal
    from carryflow.execution.limits.kill import KillSwitch, Level
    from carryflow.execution.pair.states import State

    settings = resolve(config, override, tape=tape, venue=venue)
    if ticker is not None:
        place = find_place(settings, mode)
        with Journal.read(place.journal) as journal:
            require_ticker(ticker, journal)
            stopped = {pair.ticker for pair in journal.pairs() if pair.blocked or pair.state != State.IDLE}
        if ticker not in stopped:
            console.print(f"{place.mode.value}: {ticker} is not blocked; there is nothing to resume")
            return
        place.ask_to_resume(ticker, reason)
        when = "the running engine" if place.running else "the next engine that starts here"
        console.print(f"{place.mode.value}: {when} is asked to trade {ticker} again", soft_wrap=True)
        return
    for place in _places(settings, mode):
        switch = KillSwitch(place.kill)
        known = switch.current()
        switch.clear()
        was = (
            "was not set" if known.level is Level.RUN else f"was {known.level.name.lower()} ({known.reason})"
        )
        console.print(f"{place.mode.value}: the kill switch {was}; it is off", soft_wrap=True, markup=False)


def _places(settings: "Settings", mode: str | None) -> "list[Place]":
    """Return the places of all modes that have run here, or of the one that is named, whether it has or not.

    Raises:
        SettingsError: no engine has run here, so that this may be the wrong home.
    """
    from carryflow.cli.trading.place import MODES, Place, parse_mode

    if mode is not None:
        return [Place.of(settings, parse_mode(mode))]
    there = [place for name in MODES if (place := Place.of(settings, parse_mode(name))).folder.is_dir()]
    if not there:
        raise SettingsError(
            f"no engine has run in {settings.home_dir}, so there is nothing to stop; name its home with "
            "-o home=…, or the mode that you mean to start with --mode"
        )
    return there
