"""The commands that only look: status, positions, journal. Whether an engine runs is nothing to them."""

from typing import TYPE_CHECKING, Annotated

import typer
from rich import box
from rich.table import Table
from rich.text import Text

from carryflow.cli.app import app, console
from carryflow.cli.options import Config, Override, Tape, Venue, resolve
from carryflow.core.errors import SettingsError

if TYPE_CHECKING:
    from carryflow.cli.trading.place import Place
    from carryflow.execution.books import Books
    from carryflow.execution.journal.journal import Journal
    from carryflow.execution.pair_book import PairBook

ModeName = Annotated[
    str | None, typer.Option("--mode", help="paper, sandbox or live; by default the one that ran last.")
]

_PARTS = ("funding", "basis", "fees", "slippage", "borrow", "liquidation")
_STYLES = {"info": "dim", "warning": "yellow", "critical": "red"}


@app.command()
def status(
    config: Config = None,
    override: Override = None,
    tape: Tape = None,
    venue: Venue = None,
    mode: ModeName = None,
) -> None:
    """Say how the engine stands: does it run, is anything halted, what was made, what are the alerts."""
    from carryflow.cli.trading.place import find_place
    from carryflow.execution.journal.journal import Journal

    place = find_place(resolve(config, override, tape=tape, venue=venue), mode)
    with Journal.read(place.journal) as journal:
        _say_whose(place, journal)
        _say_kill(place)
        _say_equity(journal)
        console.print(_pairs_table(journal))
        _say_alerts(journal)


@app.command()
def positions(
    config: Config = None,
    override: Override = None,
    tape: Tape = None,
    venue: Venue = None,
    mode: ModeName = None,
) -> None:
    """List what each coin holds and has made, by the engine's books, at the prices that it saw last."""
    from carryflow.cli.trading.place import find_place
    from carryflow.execution.books import Books
    from carryflow.execution.journal.journal import Journal

    place = find_place(resolve(config, override, tape=tape, venue=venue), mode)
    with Journal.read(place.journal) as journal:
        _say_whose(place, journal)
        if journal.opening() is None:
            console.print("the account has not been opened yet")
            return
        books = Books.fold(journal)
        print_whole(_positions_table(journal, books))


@app.command(name="journal")
def show_journal(
    config: Config = None,
    override: Override = None,
    tape: Tape = None,
    venue: Venue = None,
    mode: ModeName = None,
    decision: Annotated[
        str | None, typer.Option(help="Only what came of this decision; the first digits of its id will do.")
    ] = None,
    last: Annotated[int, typer.Option(min=1, help="How many of the newest entries to print.")] = 40,
) -> None:
    """Print what was decided, intended, ordered, filled, paid and told, in the order in which it happened."""
    from carryflow.cli.trading.entries import all_entries, decision_entries
    from carryflow.cli.trading.place import find_place
    from carryflow.execution.journal.journal import Journal

    place = find_place(resolve(config, override, tape=tape, venue=venue), mode)
    with Journal.read(place.journal) as journal:
        _say_whose(place, journal)
        entries = all_entries(journal) if decision is None else decision_entries(journal, decision)
    shown = entries if decision else entries[-last:]
    if len(shown) < len(entries):
        console.print(f"the newest {len(shown)} of {len(entries)} entries; --last {len(entries)} prints all")
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    for name in ("when (UTC)", "coin", "what"):
        table.add_column(name, no_wrap=True)
    table.add_column("", overflow="fold")
    for entry in shown:
        table.add_row(format_instant(entry.ts_ms), entry.ticker or "", entry.what, Text(entry.words))
    console.print(table)


def format_instant(ts_ms: int) -> str:
    """Write an instant to the second.

    >>> format_instant(1_700_000_000_000)
    '2023-11-14 22:13:20'
    """
    from datetime import UTC, datetime

    return f"{datetime.fromtimestamp(ts_ms / 1000, UTC):%Y-%m-%d %H:%M:%S}"


def signed(value: float, form: str = "+,.2f") -> str:
    """Write a number with its sign; one of which no digit would be seen is nothing.

    >>> signed(1234.5), signed(-0.004), signed(-0.25, "+.2%")
    ('+1,234.50', '0', '-25.00%')
    """
    text = f"{value:{form}}"
    return text if any(digit in text for digit in "123456789") else "0"


def say_result(place: "Place") -> None:
    """Say what a session has come to: what is held, and what was made."""
    from carryflow.execution.books import Books
    from carryflow.execution.journal.journal import Journal

    with Journal.read(place.journal) as journal:
        _say_equity(journal)
        if journal.opening() is not None:
            print_whole(_positions_table(journal, Books.fold(journal)))


def _say_whose(place: "Place", journal: "Journal") -> None:
    who = journal.identity
    coins = ", ".join(who.tickers)
    console.print(
        f"{who.mode.value} at {who.venue}: {coins} with {who.capital_quote:,.0f} {who.quote}; "
        f"{'an engine is running' if place.running else 'no engine is running'}, "
        f"{place.journal} was written {_age(place.written_seconds_ago)} ago",
        soft_wrap=True,
        markup=False,
    )


def _say_kill(place: "Place") -> None:
    from carryflow.execution.limits.kill import KillSwitch, Level

    kill = KillSwitch(place.kill).current()
    if kill.level is not Level.RUN:
        console.print(
            f"kill switch: {kill.level.name.lower()} since {format_instant(kill.at_ms)}, by {kill.by}: "
            f"{kill.reason}; `carryflow resume` lifts it",
            style="red",
            soft_wrap=True,
            markup=False,
        )


def _say_equity(journal: "Journal") -> None:
    from carryflow.execution.books import Books

    if journal.opening() is None:
        console.print("the account has not been opened yet")
        return
    books = Books.fold(journal)
    statement = journal.last_statement()
    made = books.equity - books.opening_equity
    parts = ", ".join(f"{name} {signed(value)}" for name, value in books.parts.items() if value)
    when = "never" if statement is None else format_instant(statement.ts_ms)
    console.print(
        f"equity {books.equity:,.2f} {journal.identity.quote} ({signed(made)}"
        f"{': ' + parts if parts else ''}), last reconciled {when}",
        soft_wrap=True,
    )


def _pairs_table(journal: "Journal") -> Table:
    pairs = {pair.ticker: pair for pair in journal.pairs()}
    unfinished = [order.request.ticker for order in journal.orders(unfinished=True)]
    latest = {decision.ticker: decision for decision in journal.decisions()}
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("coin")
    table.add_column("state")
    table.add_column("wanted", justify="right")
    table.add_column("decided (UTC)")
    table.add_column("open orders", justify="right")
    table.add_column("blocked", overflow="fold")
    for ticker in journal.identity.tickers:
        pair, wanted = pairs.get(ticker), latest.get(ticker)
        state = "idle" if pair is None else pair.state
        table.add_row(
            ticker,
            Text(state, style="red" if state in ("halted", "unknown") else ""),
            "–" if wanted is None else signed(wanted.fraction, "+.2%"),
            "–" if wanted is None else format_instant(wanted.decided_ms),
            str(unfinished.count(ticker)),
            Text("" if pair is None else pair.blocked or "", style="red"),
        )
    return table


def _say_alerts(journal: "Journal", most: int = 5) -> None:
    alerts = journal.alerts()
    for alert in alerts[-most:]:
        console.print(
            f"{format_instant(alert.ts_ms)} {' '.join(filter(None, (alert.severity.value, alert.ticker)))}: "
            f"{alert.words}",
            style=_STYLES[alert.severity.value],
            soft_wrap=True,
            markup=False,
        )
    if len(alerts) > most:
        console.print(f"{len(alerts) - most} older alerts: `carryflow journal`")


def _positions_table(journal: "Journal", books: "Books") -> Table:
    values = {value.ticker: value for value in journal.last_valuations()}
    made = books.parts
    parts = [name for name in _PARTS if any(book.parts[name] for book in books.pairs.values())]
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, collapse_padding=True)
    table.add_column("coin")
    for name in ("spot", "perpetual", "difference", "price", "in the trade", "equity", "profit", *parts):
        table.add_column(name, justify="right", no_wrap=True)
    for ticker, book in books.pairs.items():
        value = values.get(ticker)
        table.add_row(
            ticker, *_position_cells(book, None if value is None else float(value.spot), parts, journal)
        )
    totals = (books.equity, books.equity - books.opening_equity, *(made[name] for name in parts))
    table.add_section()
    table.add_row("all", "", "", "", "", "", f"{totals[0]:,.2f}", *(signed(value) for value in totals[1:]))
    return table


def print_whole(table: Table) -> None:
    """Print a table at its own width: a number is never cut."""
    wide = console.options.update(width=10_000)
    table.width = console.measure(table, options=wide).maximum
    console.print(table, crop=False)


def _position_cells(
    book: "PairBook", price: float | None, parts: list[str], journal: "Journal"
) -> tuple[str, ...]:
    from carryflow.core.account import Column
    from carryflow.core.hedge import hedged_fraction

    share = journal.identity.spot_share
    held = 0.0 if price is None else hedged_fraction(float(book.spot_qty), price, share, book.equity)
    return (
        *(f"{qty.normalize():f}" for qty in (book.spot_qty, book.perp_qty, book.delta_base)),
        "–" if price is None else f"{price:,.6g}",
        signed(held, "+.2%"),
        f"{book.equity:,.2f}",
        signed(book.equity - float(book.account[Column.OPENING])),
        *(signed(book.parts[name]) for name in parts),
    )


def _age(seconds: float) -> str:
    """Write an age in the unit that suits it.

    >>> _age(12.3), _age(7_300), _age(400_000)
    ('12 s', '2.0 h', '4.6 days')
    """
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7_200:
        return f"{seconds / 60:.0f} min"
    return f"{seconds / 3600:.1f} h" if seconds < 172_800 else f"{seconds / 86_400:.1f} days"


def require_ticker(ticker: str, journal: "Journal") -> None:
    """Do nothing if the engine trades the ticker.

    Raises:
        SettingsError: it does not.
    """
    tickers = journal.identity.tickers
    if ticker not in tickers:
        raise SettingsError(f"{ticker} is none of the coins that are traded here: {', '.join(tickers)}")
