"""An exchange that stands still between two steps, accounts on it, and what an audit of them finds."""

import itertools
from collections import defaultdict
from collections.abc import Iterator
from contextlib import contextmanager
from decimal import Decimal

from carryflow.core.leg import LEGS
from carryflow.execution.journal.reading import JournalReader
from carryflow.venues.credentials import Credentials
from carryflow.venues.simulated.faults import Fault, Injected
from carryflow.venues.simulated.server import RunningExchange, start_exchange
from tests.fault.audit import Audit, judge
from tests.fault.clock import SteppedClock
from tests.fault.evidence import OURS, told_by
from tests.fault.market import MINUTE_MS, QUOTE, TICKERS, minute_tape
from tests.fault.stand import CAPITAL, PLENTY, Instruments
from tests.fault.statement import truth_of

_HOURS = 24
_APART_MS = 20
"""How far apart two deliveries of the same request are at most (the machine's ms)."""

_WARM_UP_MS = 30 * MINUTE_MS


class Ground:
    """Hold a stepped exchange, and open accounts on it."""

    def __init__(self, exchange: RunningExchange) -> None:
        self.exchange = exchange
        self._numbers = itertools.count(1)

    @property
    def clock(self) -> SteppedClock:
        """Return a clock that steps the exchange."""
        return SteppedClock(lambda: self.exchange.now_ms, self.exchange.step)

    def open_account(self) -> Credentials:
        """Open an account with half of the capital in each wallet, and a little more that is nobody's."""
        number = next(self._numbers)
        credentials = Credentials(f"key{number:04}", f"secret{number:04}")
        half = CAPITAL / 2 + Decimal("123.45")
        self.exchange.open_account(credentials.key, credentials.secret, {QUOTE: half}, half)
        return credentials

    def approach(self, before_close_ms: int) -> None:
        """Let time pass until so shortly before a minute closes, at least half a minute from now."""
        now_ms = self.exchange.now_ms
        close_ms = (now_ms + MINUTE_MS // 2 + before_close_ms) // MINUTE_MS * MINUTE_MS + MINUTE_MS
        self.exchange.step(close_ms - before_close_ms - now_ms)

    def inject(self, fault: Injected) -> None:
        """Let something go wrong."""
        self.exchange.inject(
            fault.fault,
            fault.times,
            fault.path,
            method=fault.method,
            wait_seconds=fault.wait_seconds,
            delay_seconds=fault.delay_seconds,
            fraction=fault.fraction,
            late_ms=fault.late_ms,
            code=fault.code,
            words=fault.words,
        )

    def clear(self) -> None:
        """Let nothing go wrong any more."""
        self.exchange.clear_faults()
        self.exchange.maintain(False)
        for leg in LEGS:
            for ticker in TICKERS:
                self.exchange.halt(leg, ticker, False)

    def audit(self, credentials: Credentials, journal: JournalReader, instruments: Instruments) -> Audit:
        """Hold the venue's truth against a journal."""
        truth = truth_of(self.exchange, credentials.key)
        return judge(truth, told_by(journal), instruments, QUOTE, self.repeated(credentials.key))

    def still_open(self, credentials: Credentials, instruments: Instruments) -> list[str]:
        """Return what an account holds that is more than a residue which no order can close."""
        truth = truth_of(self.exchange, credentials.key)
        lots = {ticker: instruments["perp", ticker].lot for leg, ticker in instruments if leg == "perp"}
        coins = [f"{truth.coins[t]} {t}" for t, lot in lots.items() if abs(truth.coins.get(t, 0)) > lot]
        return coins + [f"{qty} {ticker} perpetual" for ticker, qty in truth.positions.items()]

    def repeated(self, key: str) -> frozenset[str]:
        """Return the names under which the line between delivered the same order twice, one after the other.

        A client that sends again does so later: after it has asked, and asked again.
        """
        at: defaultdict[str, list[int]] = defaultdict(list)
        for order in self.exchange.orders(key):
            if order.client_id.startswith(OURS):
                at[order.client_id].append(order.time_ms)
        longest_ms = _APART_MS * max(1.0, self.exchange.speed)
        names = {name for name, ms in at.items() if len(ms) == 2 and ms[1] - ms[0] <= longest_ms}
        return (
            frozenset(names) if len(names) <= self.exchange.faults_happened[Fault.REPEATED] else frozenset()
        )


@contextmanager
def grounds(minute: int = 0) -> Iterator[Ground]:
    """Lend a stepped exchange of its own, at one of the first minutes of the day."""
    tape = minute_tape(_HOURS)
    start_ms = tape.end_ms - _HOURS * 60 * MINUTE_MS + _WARM_UP_MS + minute * MINUTE_MS
    with start_exchange(tape, trading=PLENTY, start_ms=start_ms) as exchange:
        yield Ground(exchange)
