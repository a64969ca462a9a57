"""The journal's records as lines that a person reads, in the order in which they happened."""

from collections.abc import Iterator
from dataclasses import dataclass

from carryflow.core.errors import SettingsError
from carryflow.execution.intents import Decision, Intent
from carryflow.execution.journal.journal import Journal
from carryflow.execution.journal.records import OrderRecord, TransferRecord
from carryflow.execution.orders import Fill


@dataclass(frozen=True, slots=True)
class Entry:
    """Hold one line: when (UTC ms), of which coin (None: of all), what it is, and what it says."""

    ts_ms: int
    ticker: str | None
    what: str
    words: str


def all_entries(journal: Journal) -> list[Entry]:
    """Return everything that happened, the oldest first."""
    entries = [_decided(one) for one in journal.decisions()]
    entries += [_intended(one) for one in journal.intents()]
    entries += [_ordered(one) for one in journal.orders()]
    entries += [_filled(one) for one in journal.fills()]
    entries += [
        Entry(one.ts_ms, one.ticker, "funding", f"{one.amount:+f} {journal.identity.quote}")
        for one in journal.funding()
    ]
    entries += [_moved(one, journal.identity.quote) for one in journal.transfers()]
    entries += [Entry(one.ts_ms, one.ticker, one.severity.value, one.words) for one in journal.alerts()]
    return sorted(entries, key=lambda entry: entry.ts_ms)


def decision_entries(journal: Journal, name: str) -> list[Entry]:
    """Return what came of one decision: intents, orders, fills.

    Args:
        journal: where it was written down.
        name: its id, or the first digits of it.

    Raises:
        SettingsError: no decision is called so, or several are.
    """
    named = [one for one in journal.decisions() if one.decision_id.startswith(name)]
    if len(named) != 1:
        found = ", ".join(one.decision_id for one in named[:3]) or "none"
        raise SettingsError(
            f"--decision {name} names {len(named)} decisions ({found}); `carryflow journal` lists them"
        )
    return [_decided(named[0]), *_came_of(journal, named[0])]


def _came_of(journal: Journal, decision: Decision) -> Iterator[Entry]:
    for intent in journal.intents(decision.decision_id):
        yield _intended(intent)
        for order in journal.orders(intent_id=intent.intent_id):
            yield _ordered(order)
            for fill in journal.fills(client_id=order.request.client_id):
                yield _filled(fill)


def _decided(one: Decision) -> Entry:
    because = f": {one.reason}" if one.reason else ""
    return Entry(
        one.decided_ms,
        one.ticker,
        "decision",
        f"{one.decision_id} {one.fraction:+.2%} by {one.source}{because}",
    )


def _intended(one: Intent) -> Entry:
    return Entry(
        one.created_ms,
        one.ticker,
        "intent",
        f"{one.intent_id} {one.action.value} to {one.target_base:f} coins at spot {one.spot_reference:f}, "
        f"perpetual {one.perp_reference:f}",
    )


def _ordered(one: OrderRecord) -> Entry:
    asked = one.request
    became = "lost" if one.lost else "unknown" if one.status is None else one.status.value
    reduces = ", reduce-only" if asked.reduce_only else ""
    return Entry(
        one.journalled_ms,
        asked.ticker,
        "order",
        f"{asked.client_id} {one.purpose.value}: {asked.side.value} {asked.qty:f} {asked.leg}, limit "
        f"{asked.price:f} {asked.time_in_force.value}{reduces}; {became}, {one.filled:f} filled",
    )


def _filled(one: Fill) -> Entry:
    whose = one.client_id or "not ours"
    fee = f"{one.fee:f} {one.fee_asset}"
    maker = " as maker" if one.maker else ""
    return Entry(
        one.ts_ms,
        one.ticker,
        "fill",
        f"{whose} {one.side.value} {one.qty:f} {one.leg} at {one.price:f}{maker}, fee {fee}",
    )


def _moved(one: TransferRecord, quote: str) -> Entry:
    became = "lost" if one.lost else "unknown" if one.arrived is None else "arrived"
    return Entry(
        one.settled_ms or one.journalled_ms,
        one.ticker,
        "transfer",
        f"{one.amount:f} {quote} to {one.to.value}; {became}",
    )
