"""The command that closes everything: through the engine that runs, or with one of its own."""

import asyncio
import os
import time
from typing import TYPE_CHECKING, Annotated

import typer

from carryflow.cli.app import app, console
from carryflow.cli.options import Config, Override, Tape, Venue, resolve
from carryflow.cli.trading.accounts import ModeName, say_result
from carryflow.core.errors import CarryflowError, SettingsError

if TYPE_CHECKING:
    from decimal import Decimal

    from carryflow.cli.trading.place import Place
    from carryflow.cli.trading.session import Terms
    from carryflow.execution.journal.records import Identity
    from carryflow.settings import Settings

LOOK_SECONDS = 0.5
"""Pause between two looks at how far the running engine is."""


@app.command()
def flatten(
    config: Config = None,
    override: Override = None,
    tape: Tape = None,
    venue: Venue = None,
    mode: ModeName = None,
    reason: Annotated[str, typer.Option(help="Why; it is written down.")] = "by hand",
    patience: Annotated[
        float, typer.Option(min=1, help="How long to wait for the running engine (seconds).")
    ] = 120.0,
) -> None:
    """Close every position: through the engine that runs, else by connecting to the venue.

    The kill switch stays at flatten, so that nothing is opened again before `carryflow resume`.
    """
    from carryflow.cli.trading.place import find_place, machine_ms
    from carryflow.execution.limits.kill import KillSwitch, Level

    settings = resolve(config, override, tape=tape, venue=venue)
    place = find_place(settings, mode)
    ran = place.running
    terms = None if ran else _terms(settings, place)
    KillSwitch(place.kill).set(Level.FLATTEN, reason, "person", machine_ms())
    if terms is None:
        console.print(f"{place.mode.value}: the running engine is told to close everything", soft_wrap=True)
        still = _await_flat(place, patience)
    else:
        console.print(
            f"{place.mode.value} at {terms.venue_name}: closing everything", soft_wrap=True, markup=False
        )
        try:
            still = asyncio.run(_close(terms, reason))
        except CarryflowError:
            console.print(
                "the kill switch stays at flatten, and what was held may still be open", soft_wrap=True
            )
            raise
    say_result(place)
    if still:
        raise CarryflowError(f"not closed: {'; '.join(still)}; {_way_out(place)}")
    console.print("everything is closed; `carryflow resume` lifts the kill switch", soft_wrap=True)


def _terms(settings: "Settings", place: "Place") -> "Terms":
    """Return the terms on which the journal's positions are closed: those that it was begun on.

    Raises:
        SettingsError: the exchange is gone, another venue is named, or there is no key.
    """
    from carryflow.cli.trading.origin import Origin
    from carryflow.cli.trading.preparation import read_credentials
    from carryflow.cli.trading.session import Terms
    from carryflow.execution.journal.journal import Journal
    from carryflow.execution.journal.records import Mode

    with Journal.read(place.journal) as journal:
        identity = journal.identity
    origin = Origin.parse(identity.venue)
    if origin.beside:
        raise SettingsError(
            f"{place.journal} is of a simulated exchange that ended with the command that had started it: "
            "nothing is held anywhere"
        )
    settings = _of_identity(origin.settings(settings), identity)
    credentials = None if place.mode is Mode.PAPER else read_credentials(settings, os.environ)
    return Terms(settings, place, identity.venue, credentials, protective=True)


def _of_identity(settings: "Settings", identity: "Identity") -> "Settings":
    """Return the settings with what the journal was begun on in place of what is set now."""
    data = settings.data.model_copy(update={"tickers": identity.tickers, "quote": identity.quote})
    execution = settings.execution.model_copy(
        update={"capital_quote": float(identity.capital_quote), "spot_share": identity.spot_share}
    )
    return settings.model_copy(update={"data": data, "execution": execution})


async def _close(terms: "Terms", reason: str) -> list[str]:
    """Close everything with an engine of our own; return what stays open, in words."""
    from carryflow.cli.trading.announcer import Announcer
    from carryflow.cli.trading.place import machine_ms
    from carryflow.cli.trading.running import show
    from carryflow.cli.trading.session import open_session

    async with open_session(terms, Announcer(show, machine_ms, None)) as session:
        await session.engine.flatten(reason)
        await session.engine.reconcile()
    return _open_positions(terms.place)


def _await_flat(place: "Place", patience: float) -> list[str]:
    """Wait until the running engine has closed everything, or has ended; return what stays open, in words.

    The books are folded again only when the journal has been written.
    """
    until = time.monotonic() + patience
    while True:
        written = place.written
        still = _open_positions(place)
        while still and place.written == written and place.running and time.monotonic() < until:
            time.sleep(LOOK_SECONDS)
        if not still or place.written == written or time.monotonic() >= until:
            return still


def _way_out(place: "Place") -> str:
    if place.running:
        return (
            "`carryflow status` tells what is in the way; or stop the engine and call again: then this "
            "command connects by itself, whatever this machine's clock says"
        )
    return "look at the venue, and call again"


def _open_positions(place: "Place") -> list[str]:
    """Return what the journal still has open, in words.

    That is any perpetual, coins with a value that could be sold or that nobody knows, orders without an end,
    and pairs that are not at rest.
    """
    from carryflow.execution.books import Books
    from carryflow.execution.journal.journal import Journal
    from carryflow.execution.pair.states import State

    with Journal.read(place.journal) as journal:
        if journal.opening() is None:
            return []
        books = Books.fold(journal)
        prices = {value.ticker: value.spot for value in journal.last_valuations()}
        orders = [order.request for order in journal.orders(unfinished=True)]
        restless = [pair for pair in journal.pairs() if pair.state != State.IDLE]
    held = [
        f"{ticker} {book.spot_qty:f} spot, {book.perp_qty:f} perpetual"
        for ticker, book in books.pairs.items()
        if book.perp_qty or _is_worth_something(book.spot_qty, prices.get(ticker))
    ]
    held += [f"{order.ticker} {order.leg} order {order.client_id} without an end" for order in orders]
    return held + [f"{pair.ticker} is {pair.state}" for pair in restless]


def _is_worth_something(qty: "Decimal", price: "Decimal | None") -> bool:
    return bool(qty) if price is None else abs(qty) * price >= DUST_QUOTE


DUST_QUOTE = 20
"""Worth of coins (quote) below which venues may refuse to sell them."""
