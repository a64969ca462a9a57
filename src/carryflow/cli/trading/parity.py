"""The command that holds what was made against a backtest of the same decisions."""

from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.table import Table

from carryflow.cli.app import app, console
from carryflow.cli.options import Config, Override, Tape, Venue, reachable, resolve
from carryflow.cli.trading.accounts import ModeName, format_instant, print_whole, signed
from carryflow.core.errors import InvariantBroken

if TYPE_CHECKING:
    from carryflow.cli.trading.place import Place
    from carryflow.env.tape import MarketTape
    from carryflow.evaluation.parity import Chain, Parity
    from carryflow.evaluation.parity_courses import Account
    from carryflow.execution.journal.records import Identity
    from carryflow.settings import Settings

_LOOK_BACK = timedelta(days=2)
"""Hours fetched before the first decision: the model's depth is a share of the day's turnover."""


@app.command(name="parity")
def show_parity(
    config: Config = None,
    override: Override = None,
    tape: Tape = None,
    venue: Venue = None,
    mode: ModeName = None,
    fetch: Annotated[
        bool, typer.Option(help="Fetch the bars that are missing; with --no-fetch those at hand must do.")
    ] = True,
) -> None:
    """Backtest the decisions of a journal, and split the gap to what the venue says was made."""
    from carryflow.cli.trading.place import find_place
    from carryflow.evaluation.parity import parity
    from carryflow.evaluation.parity_courses import read_account
    from carryflow.execution.journal.journal import Journal

    settings = resolve(config, override, tape=tape, venue=venue)
    place = find_place(settings, mode)
    with Journal.read(place.journal) as journal:
        identity, account = journal.identity, read_account(journal)
    hours = _hours(settings, place, identity, account, fetch=fetch)
    env = settings.env.model_copy(
        update={"spot_share": identity.spot_share, "hysteresis": settings.execution.hysteresis}
    )
    found = parity(account.courses, hours, env, account.stated_profit)
    console.print(_title(identity, found), soft_wrap=True, markup=False)
    print_whole(_table(found))
    _say_unexplained(identity, found.total, account)


def _hours(
    settings: "Settings", place: "Place", identity: "Identity", account: "Account", *, fetch: bool
) -> "list[MarketTape]":
    """Return the market of the journal's hours, one tape a ticker, fetched if it is not at hand.

    Raises:
        MarketDataError: there are no bars, or not enough.
        SettingsError: they would be of another market than the journal's.
    """
    from carryflow.cli.trading.origin import Origin, ask_tape
    from carryflow.evaluation.hours import PRICES, Eyes, read_hours
    from carryflow.market.store import read_source

    origin = Origin.parse(identity.venue)
    end_ms = max(course.end_ms for course in account.courses)
    first_ms = min((course.targets[0][0] for course in account.courses if course.targets), default=end_ms)
    data = settings.data.model_copy(
        update={
            "tickers": identity.tickers,
            "quote": identity.quote,
            "start": datetime.fromtimestamp(first_ms / 1000, UTC) - _LOOK_BACK,
            "end": datetime.fromtimestamp(end_ms / 1000, UTC),
        }
    )
    if fetch:
        from carryflow.venues.ccxt_market import fetch_market

        if settings.exchange.tape is None or origin.url is None:
            settings = origin.settings(settings)
        with reachable(settings.model_copy(update={"data": data})) as answered:
            if origin.tape_id is not None:
                origin.require_tape(ask_tape(answered.venue)[0])
            fetch_market(place.market, answered.venue, data)
    source = read_source(place.market)
    if source is not None:
        origin.require_tape(source.tape_id)
    everything = data.model_copy(update={"start": None, "end": None})
    return read_hours(place.market, everything, Eyes(PRICES, None)).tapes


def _title(identity: "Identity", found: "Parity") -> str:
    return (
        f"{identity.mode.value} at {identity.venue}, {format_instant(found.start_ms)} to "
        f"{format_instant(found.end_ms)} UTC, in {identity.quote}"
    )


def _table(found: "Parity") -> Table:
    from carryflow.evaluation.parity import STEPS

    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("coin")
    for name in ("backtest", *STEPS, "ledger", "traded"):
        table.add_column(name, justify="right", no_wrap=True)
    rows = dict(found.tickers)
    if len(rows) > 1:
        rows["all"] = found.total
    for place, (name, chain) in enumerate(rows.items()):
        steps = (getattr(chain, step) for step in STEPS)
        cells = [signed(value) for value in (chain.backtest, *steps, chain.backtest + chain.gap)]
        table.add_row(name, *cells, f"{chain.notional:,.0f}", end_section=place == len(rows) - 2)
    return table


def _say_unexplained(identity: "Identity", total: "Chain", account: "Account") -> None:
    """Say what the venue's statement says beyond the ledger.

    Raises:
        InvariantBroken: it is more than rounding.
    """
    from carryflow.evaluation.parity import TOLERANCE

    said = (
        f"unexplained {total.unexplained:+.6f} {identity.quote}; the venue's statement says "
        f"{total.actual:+,.2f} was made"
    )
    console.print(said, style=None if total.explained else "red", soft_wrap=True)
    if total.explained:
        return
    held = "; ".join(
        f"{one.ticker} {one.leg}: the venue holds {one.stated:f}, the journal's fills come to {one.booked:f}"
        for one in account.mismatches
    )
    raise InvariantBroken(
        f"{total.unexplained:+.6f} {identity.quote} of what the venue says was made is explained by no fill, "
        f"fee or payment (put up with: {TOLERANCE * total.notional:.6f}): "
        f"{held or 'coins and contracts agree, so that it is cash'}; look for what the journal "
        "misses, such as deposits, or trades in other coins"
    )
