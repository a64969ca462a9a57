"""What must be true of an account at a venue and of the journal behind it, whatever went wrong between."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from carryflow.core.instrument import Instrument
from carryflow.core.leg import Leg
from carryflow.execution.intents import client_order_id
from carryflow.execution.orders import Side, Wallet
from tests.fault.evidence import OURS, Placed, Told, Truth

UNIT = Decimal("1e-8")
"""The last unit of a balance."""

_MOST_TURNS = 4
"""How often a leg may change its mind: opened, unwound, and once more each for coins too few to be sold."""


class Breach(StrEnum):
    """Name what an account must never show."""

    ONE_LEG = "one leg"  # without the other, and nobody called
    DUPLICATE = "duplicate"  # an order accepted twice, or not written down, or not as it was written down
    CHURN = "churn"  # one leg of one intent that turns back and forth, and pays each time
    ORPHAN = "orphan"  # an order of ours that still rests
    LOST_FILL = "lost fill"  # a trade that is not in the journal, or is another one there
    LEDGER = "ledger"  # books that are not the venue's statement
    FUNDS = "funds"  # money that came from nowhere, or went there
    UNJOINED = "unjoined"  # a fill whose decision cannot be found
    UNSETTLED = "unsettled"  # an order, a transfer or a pair of which it is not known what became of it


@dataclass(frozen=True, slots=True)
class Finding:
    """Hold one breach, and where it is."""

    breach: Breach
    words: str

    def __str__(self) -> str:
        """Say both."""
        return f"{self.breach}: {self.words}"


@dataclass(frozen=True, slots=True)
class Audit:
    """Hold what was found, and how near it was.

    Attributes:
        findings: what must not be; empty where all is well.
        worst_delta_lots: the largest difference of the legs of a pair that is not halted (coarser lots).
        halted: tickers that wait for a person.
        ledger_gap: the largest difference between ledger and statement (quote).
        orders: orders of ours at the venue.
        fills: trades at the venue.
        duplicates: names under which more than one order was filled.
    """

    findings: tuple[Finding, ...]
    worst_delta_lots: float
    halted: tuple[str, ...]
    ledger_gap: float
    orders: int
    fills: int
    duplicates: int

    def count(self, breach: Breach) -> int:
        """Return how many findings are of a kind."""
        return sum(finding.breach is breach for finding in self.findings)


def judge(
    truth: Truth,
    told: Told,
    instruments: Mapping[tuple[Leg, str], Instrument],
    quote: str,
    repeated: frozenset[str] = frozenset(),
) -> Audit:
    """Hold the venue's truth against the journal.

    `repeated` names orders that something between us and the venue delivered twice: the venue then has two
    orders of that name, which nobody who trades there can help; all else must be true of them, too.
    """
    lots = {t: max(_lot(instruments["spot", t]), _lot(instruments["perp", t])) for _, t in instruments}
    deltas = {
        t: (truth.coins.get(t, Decimal(0)) + truth.positions.get(t, Decimal(0))) / lots[t] for t in lots
    }
    halted = tuple(t for t, state in sorted(told.states.items()) if state.lower() == "halted")
    ours = [order for order in truth.orders if order.client_id.startswith(OURS)]
    twice = _filled_twice(truth)
    findings = [
        *_one_legged(deltas, halted, told),
        *_duplicates(truth, told, twice - repeated, repeated),
        *(Finding(Breach.ORPHAN, _name(order)) for order in ours if order.open),
        *_churn(truth, told),
        *_lost_fills(truth, told),
        *_ledger(truth, told, quote),
        *_funds(truth, quote),
        *_unjoined(told),
        *_unsettled(told),
    ]
    calm = [abs(delta) for ticker, delta in deltas.items() if ticker not in halted]
    return Audit(
        tuple(findings),
        float(max(calm, default=Decimal(0))),
        halted,
        float(_gap(truth, told, quote)),
        len(ours),
        len(truth.fills),
        len(twice),
    )


def _name(order: Placed) -> str:
    return f"{order.leg} {order.ticker} {order.order_id} {order.client_id} {order.executed} of {order.qty}"


def _lot(instrument: Instrument) -> Decimal:
    return instrument.lot * instrument.contract_size


def _one_legged(deltas: Mapping[str, Decimal], halted: tuple[str, ...], told: Told) -> Iterator[Finding]:
    for ticker, delta in deltas.items():
        if abs(delta) <= 1 or (ticker in halted and ticker in told.called):
            continue
        called = "called" if ticker in told.called else "nobody called"
        state = told.states.get(ticker, "without a state")
        yield Finding(Breach.ONE_LEG, f"{ticker} is {delta:.4f} lots off, {state}, {called}")


def _filled_twice(truth: Truth) -> frozenset[str]:
    filled = Counter(o.client_id for o in truth.orders if o.executed > 0 and o.client_id.startswith(OURS))
    return frozenset(name for name, times in filled.items() if times > 1)


def _duplicates(
    truth: Truth, told: Told, twice: frozenset[str], repeated: frozenset[str]
) -> Iterator[Finding]:
    for name in sorted(twice):
        orders = ", ".join(f"{o.executed} of {o.qty}" for o in truth.orders if o.client_id == name)
        yield Finding(Breach.DUPLICATE, f"{name} was filled by several orders: {orders}")
    written = {order.request.client_id: order for order in told.orders}
    for order in truth.orders:
        if not order.client_id.startswith(OURS):
            continue
        record = written.get(order.client_id)
        if record is None:
            yield Finding(Breach.DUPLICATE, f"{_name(order)} was never written down")
            continue
        request = record.request
        wanted = (request.leg, request.ticker, request.side, request.qty, request.price)
        if wanted != (order.leg, order.ticker, order.side, order.qty, order.price):
            yield Finding(Breach.DUPLICATE, f"{_name(order)} was written down as {wanted}")
        if record.lost and order.executed > 0 and order.client_id not in repeated:
            yield Finding(Breach.DUPLICATE, f"{_name(order)} was given up as lost, and is there")
    for record in told.orders:
        request = record.request
        if request.client_id != client_order_id(record.intent_id, request.leg, record.attempt):
            yield Finding(Breach.DUPLICATE, f"{request.client_id} is not the name of its intent and attempt")


def _churn(truth: Truth, told: Told) -> Iterator[Finding]:
    """Count how often an intent's trades in one leg turn from buying to selling, or back."""
    intents = {order.request.client_id: order.intent_id for order in told.orders}
    last: dict[tuple[str, Leg], Side] = {}
    turns: Counter[tuple[str, Leg]] = Counter()
    for order in truth.orders:
        intent_id = intents.get(order.client_id)
        if intent_id is None or order.executed == 0:
            continue
        turns[intent_id, order.leg] += last.get((intent_id, order.leg), order.side) is not order.side
        last[intent_id, order.leg] = order.side
    for (intent_id, leg), times in turns.items():
        if times > _MOST_TURNS:
            yield Finding(Breach.CHURN, f"the {leg} leg of intent {intent_id} turned {times} times")


def _lost_fills(truth: Truth, told: Told) -> Iterator[Finding]:
    there = {(f.leg, f.ticker, f.trade_id): f for f in truth.fills}
    here = {(f.leg, f.ticker, f.trade_id): f for f in told.fills}
    if len(here) != len(told.fills):
        yield Finding(Breach.LOST_FILL, f"the journal has {len(told.fills) - len(here)} trades twice")
    for key in sorted(there.keys() | here.keys()):
        ours, theirs = here.get(key), there.get(key)
        if ours is None:
            yield Finding(Breach.LOST_FILL, f"{theirs} is not in the journal")
        elif theirs is None:
            yield Finding(Breach.LOST_FILL, f"{ours} is not at the venue")
        elif ours != theirs:
            yield Finding(Breach.LOST_FILL, f"the journal has {ours}, the venue {theirs}")


def _gap(truth: Truth, told: Told, quote: str) -> Decimal:
    """Return how far ledger and statement are apart at most, wherever gains are realised."""
    cash = abs(told.spot_cash - truth.coins.get(quote, Decimal(0)))
    return max(cash, abs(told.wallet - told.cost - truth.futures + truth.cost))


def _ledger(truth: Truth, told: Told, quote: str) -> Iterator[Finding]:
    """Compare to the last unit; the venue rounds what it realises with each trade, the ledger does not."""
    for ticker in sorted(told.coins.keys() | told.positions.keys()):
        pairs = (
            ("coins", told.coins.get(ticker, Decimal(0)), truth.coins.get(ticker, Decimal(0))),
            ("perpetual", told.positions.get(ticker, Decimal(0)), truth.positions.get(ticker, Decimal(0))),
        )
        for what, ours, theirs in pairs:
            if ours != theirs:
                yield Finding(Breach.LEDGER, f"{ticker} {what}: the ledger has {ours}, the venue {theirs}")
    rounded = UNIT * (1 + sum(fill.leg == "perp" for fill in truth.fills))
    sums = (
        ("cash", told.spot_cash, truth.coins.get(quote, Decimal(0)), Decimal(0)),
        ("wallet less cost, added up", told.paid_in, truth.futures - truth.inserted - truth.cost, Decimal(0)),
        ("wallet less cost", told.wallet - told.cost, truth.futures - truth.cost, UNIT),
        ("wallet", told.wallet, truth.futures, rounded),
    )
    for what, ours, theirs, tolerance in sums:
        if abs(ours - theirs) > tolerance:
            words = f"the ledger has {ours}, the venue {theirs} ({ours - theirs:.3e})"
            yield Finding(Breach.LEDGER, f"{quote} {what}: {words}")
    paid = (_payments(told), _payments(truth)), (_moves(told), _moves(truth))
    for name, (ours, theirs) in zip(("funding", "transfers"), paid, strict=True):
        for only, count in ((ours - theirs) + (theirs - ours)).items():
            yield Finding(Breach.LEDGER, f"{name}: {only} {count} times more in journal or venue")


def _payments(side: Told | Truth) -> Counter[tuple[str, Decimal, int]]:
    """Count payments without their names, which are the client's to make."""
    return Counter((payment.ticker, payment.amount, payment.ts_ms) for payment in side.funding)


def _moves(side: Told | Truth) -> Counter[tuple[str, Decimal, Wallet]]:
    """Count transfers without their times, of which a client may know its own only."""
    return Counter((move.transfer_id, move.amount, move.to) for move in side.transfers)


def _funds(truth: Truth, quote: str) -> Iterator[Finding]:
    """Add up all that ever happened: each wallet must be what it began with, and that."""
    coins: dict[str, Decimal] = defaultdict(Decimal, truth.deposited[0])
    futures = truth.deposited[1] + truth.realised + truth.inserted
    positions: dict[str, Decimal] = defaultdict(Decimal)
    for fill in truth.fills:
        signed = fill.side.sign * fill.qty
        if fill.leg == "spot":
            coins[fill.ticker] += signed
            coins[quote] -= signed * fill.price
            coins[fill.fee_asset] -= fill.fee
        else:
            positions[fill.ticker] += signed
            futures -= fill.fee
    futures += sum((payment.amount for payment in truth.funding), Decimal(0))
    for transfer in truth.transfers:
        moved = transfer.amount if transfer.to is Wallet.FUTURES else -transfer.amount
        coins[quote] -= moved
        futures += moved
    for coin in sorted(coins.keys() | truth.coins.keys()):
        if coins[coin] != truth.coins.get(coin, Decimal(0)):
            yield Finding(Breach.FUNDS, f"{coin}: adds up to {coins[coin]}, there is {truth.coins.get(coin)}")
        if truth.coins.get(coin, Decimal(0)) < 0:
            yield Finding(Breach.FUNDS, f"{coin} is below zero: {truth.coins[coin]}")
    for ticker in sorted(positions.keys() | truth.positions.keys()):
        if positions[ticker] != truth.positions.get(ticker, Decimal(0)):
            words = f"adds up to {positions[ticker]}, there is {truth.positions.get(ticker)}"
            yield Finding(Breach.FUNDS, f"{ticker} perpetual: {words}")
    if abs(futures - truth.futures) > UNIT:
        yield Finding(Breach.FUNDS, f"the futures wallet adds up to {futures}, there is {truth.futures}")


def _unjoined(told: Told) -> Iterator[Finding]:
    written = {order.request.client_id: order for order in told.orders}
    for order in told.orders:
        if told.decisions.get(order.intent_id) is None:
            yield Finding(Breach.UNJOINED, f"{order.request.client_id}, intent {order.intent_id}")
    for fill in told.fills:
        if fill.client_id is not None and fill.client_id not in written:
            yield Finding(Breach.UNJOINED, str(fill))


def _unsettled(told: Told) -> Iterator[Finding]:
    for order in told.orders:
        ended = order.lost or (order.status is not None and order.status.final)
        if not ended:
            yield Finding(Breach.UNSETTLED, f"order {order.request.client_id} is {order.status}")
    filled: dict[str | None, Decimal] = defaultdict(Decimal)
    for fill in told.fills:
        filled[fill.client_id] += fill.qty
    for order in told.orders:
        if not order.lost and order.filled != filled[order.request.client_id]:
            words = f"{order.filled} filled, its trades are {filled[order.request.client_id]}"
            yield Finding(Breach.UNSETTLED, f"order {order.request.client_id}: {words}")
    for key in told.unsettled:
        yield Finding(Breach.UNSETTLED, f"transfer {key}")
    for ticker, state in sorted(told.states.items()):
        if state.lower() not in ("idle", "halted"):
            yield Finding(Breach.UNSETTLED, f"{ticker} is {state}")
