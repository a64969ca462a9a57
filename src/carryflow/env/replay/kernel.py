"""A whole series of targets in one call: what trades goes through the kernel, the stretches between at once.

Between two trades nothing happens to a linear account that `core.holding` cannot sum up. So a series is
played in blocks: one in which nobody is deleveraged and no mark comes near a liquidation is valued whole. The
rows of any other, and every row at which something may happen, go through the very step that the environment
takes; so do all rows of an inverse pair.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from carryflow.core.account import FIRST_PART, LINEAR_KIND, N_PARTS, Column, equity
from carryflow.core.compiled import compiled
from carryflow.core.holding import Sums, hold, is_safe, value_held
from carryflow.env.kernel import live
from carryflow.env.layout import SEAT_WIDTH, TOLD_WIDTH, Floats, Row, Rule, Seat, Status, Term
from carryflow.env.prefetch import prefetch
from carryflow.env.replay.panel import BLOCK, SUMS, Panel
from carryflow.env.trade import HEDGE_TOLERANCE, begin, position

Integers = NDArray[np.int64]

_BRACKETS, _COLUMNS = len(Rule), len(Column)
_RUNNING, _TERMINATED = float(Status.RUNNING), float(Status.TERMINATED)


class Replayed(NamedTuple):
    """Hold what became of K accounts.

    A snapshot is an account on coming to a row: to its first, and to every one before which it traded or the
    venue traded for it. From one snapshot to the next nothing but the market happens to it.

    Attributes:
        worth: equity on coming to each row, before what is traded there (quote) (K, n).
        snapshots: rows of the ledger, ticker after ticker (E, len(Column)).
        rows: the row on which each was taken (E,).
        counts: how many there are of each ticker (K,).
        ends: the row at which each account ended: the last one or, liquidated or ruined, an earlier one (K,).
        terminated: whether it was liquidated or ruined (K,).
        accounts: the accounts at their ends (K, len(Column)).

    """

    worth: Floats
    snapshots: Floats
    rows: Integers
    counts: Integers
    ends: Integers
    terminated: NDArray[np.bool_]
    accounts: Floats


class Notebook(NamedTuple):
    """Lend room for the snapshots of a replay; one that is used again costs no fresh memory.

    Attributes:
        snapshots: (at least K · n, len(Column)).
        rows: (at least K · n,).

    """

    snapshots: Floats
    rows: Integers

    @classmethod
    def of(cls, panel: Panel) -> "Notebook":
        """Make room for one snapshot a row: there cannot be more, and what is not written costs nothing."""
        most = panel.spot.size
        return cls(np.empty((most, _COLUMNS)), np.empty(most, np.int64))


@compiled
def all_fractions(targets: Floats) -> bool:
    """Say whether all targets (K, n) are in [−1, 1]; NaN is not."""
    wrong = 0
    for k in range(len(targets)):
        own = targets[k]
        for i in range(len(own)):
            wrong += not abs(own[i]) <= 1.0
    return wrong == 0


def play(panel: Panel, targets: Floats, rules: Floats, notebook: Notebook, *, closes: bool) -> Replayed:
    """Let K accounts follow their targets, each from its first row to its last.

    Args:
        panel: what `lay_out` made of the tapes.
        targets: wanted fractions of capital in the hedged trade, in [−1, 1], contiguous (K, n); at the last
            row nothing trades.
        rules: the settings (`env.layout.rules_of`).
        notebook: room to work in.
        closes: whether the position is closed at the last row but one, whatever its target.

    """
    accounts, n = targets.shape
    worth, ends = np.empty((accounts, n)), np.zeros((3, accounts), np.int64)
    seats, told = np.zeros((accounts, SEAT_WIDTH)), np.empty(TOLD_WIDTH)
    taken = _play_all(panel, targets, rules, closes, seats, told, worth, *notebook, ends)
    snapshots, rows = notebook.snapshots[:taken].copy(), notebook.rows[:taken].copy()
    return Replayed(worth, snapshots, rows, ends[0], ends[1], ends[2] == 1, seats[:, :_COLUMNS])


@compiled
def unfold(panel: Panel, course: Replayed, rules: Floats, fraction: Floats, parts: Floats) -> None:
    """Fill in what every account was on coming to each row, from its snapshots.

    Args:
        panel: what was played.
        course: what became of it; its snapshots are moved on in time: give a copy of those still needed.
        rules: the settings.
        fraction: is filled with the fraction of capital in the hedged trade (K, n).
        parts: is filled with the parts of profit since the opening (quote) (K, n, N_PARTS).

    """
    last, taken = fraction.shape[1] - 1, 0
    for k in range(len(fraction)):
        share = rules[Rule.SPOT_SHARE] if panel.terms[k, Term.KIND] == LINEAR_KIND else 1.0
        for snapshot in range(taken, taken + course.counts[k]):
            account, row = course.snapshots[snapshot], course.rows[snapshot]
            until = last if snapshot + 1 == taken + course.counts[k] else course.rows[snapshot + 1] - 1
            _tell(account, share, course.worth[k, row], fraction[k, row : row + 1], parts[k, row])
            for now in range(row + 1, until + 1):
                if now <= course.ends[k]:
                    _hold_until(account, panel.rows[k, now - 1], panel.rows[k, now], rules)
                _tell(account, share, course.worth[k, now], fraction[k, now : now + 1], parts[k, now])
        taken += course.counts[k]


@compiled
def _tell(account: Floats, share: float, worth: float, fraction: Floats, parts: Floats) -> None:
    fraction[0] = position(account, share, worth)
    for part in range(N_PARTS):
        parts[part] = account[FIRST_PART + part]


@compiled(inlined=True)
def _hold_until(account: Floats, then: Floats, now: Floats, rules: Floats) -> None:
    """Live from one of the kernel's rows to a later one, while nothing trades."""
    hold(
        account,
        now[SUMS + Sums.SETTLED] - then[SUMS + Sums.SETTLED],
        now[SUMS + Sums.FUNDED] - then[SUMS + Sums.FUNDED],
        now[SUMS + Sums.LENT] - then[SUMS + Sums.LENT],
        rules[Rule.BORROW_APR],
        now[Row.SPOT],
        now[Row.MARK],
    )


@compiled
def _play_all(
    panel: Panel,
    targets: Floats,
    rules: Floats,
    closes: bool,
    seats: Floats,
    told: Floats,
    worth: Floats,
    snapshots: Floats,
    rows: Integers,
    ends: Integers,
) -> int:
    """Play ticker after ticker; fill what `Replayed` names and return the number of snapshots."""
    total = 0
    for k in range(len(targets)):
        account = seats[k]
        own, first = panel.terms[k], panel.rows[k, 0]
        account[Seat.SPOT_LOT] = own[Term.SPOT_LOT]
        account[Seat.PERP_LOT] = own[Term.PERP_LOT]
        account[Seat.MIN_NOTIONAL] = own[Term.MIN_NOTIONAL]
        begin(account, own[Term.KIND], 0.0, first, rules)
        account[Seat.LAST] = len(worth[k]) - 1
        account[Seat.STATUS] = _RUNNING
        taken = _play_one(
            account,
            panel,
            k,
            targets[k],
            rules,
            closes,
            told,
            worth[k],
            snapshots[total:],
            rows[total:],
        )
        total += taken
        end = int(account[Seat.CURSOR])
        worth[k, end + 1 :] = worth[k, end]
        ends[0, k], ends[1, k], ends[2, k] = taken, end, account[Seat.STATUS] == _TERMINATED
    return total


@compiled
def _play_one(
    account: Floats,
    panel: Panel,
    k: int,
    targets: Floats,
    rules: Floats,
    closes: bool,
    told: Floats,
    worth: Floats,
    snapshots: Floats,
    rows: Integers,
) -> int:
    """Play one ticker; return how many snapshots were taken."""
    last, taken, row = len(targets) - 1, 1, 0
    rows[0] = _keep(account, snapshots[0], 0)
    worth[0] = account[Seat.WORTH]
    while row < last and account[Seat.STATUS] < _TERMINATED:
        if account[Seat.STATUS] == _RUNNING:
            row = _hold_on(account, panel, k, row, targets, rules, worth)
        worth[row] = account[Seat.WORTH]
        if worth[row] <= 0.0:
            account[Seat.STATUS] = _TERMINATED
            break
        traded = account[Column.TURNOVER]
        account[Seat.CURSOR] = row
        target = 0.0 if closes and row == last - 1 else targets[row]
        live(account, target, rules[Rule.SPOT_SHARE], panel.rows[k], rules, told)
        row += 1
        worth[row] = account[Seat.WORTH]
        if account[Column.TURNOVER] != traded:
            rows[taken] = _keep(account, snapshots[taken], row)
            taken += 1
    account[Seat.CURSOR] = row
    return taken


@compiled(inlined=True)
def _keep(account: Floats, snapshot: Floats, row: int) -> int:
    """Copy an account's ledger into a snapshot of `row`."""
    for column in range(_COLUMNS):
        snapshot[column] = account[column]
    return row


@compiled(inlined=True)
def _hold_on(
    account: Floats,
    panel: Panel,
    k: int,
    at: int,
    targets: Floats,
    rules: Floats,
    worth: Floats,
) -> int:
    """Take the account from row `at` to one at which, or after which, something may happen; return that row.

    The rows up to it are valued.
    """
    row, looked, then = at, False, panel.rows[k, at]
    settled, lent = then[SUMS + Sums.SETTLED], then[SUMS + Sums.LENT]
    while not looked:
        block = row // BLOCK
        if block >= panel.calm.shape[1] or not panel.calm[k, block]:
            break
        if not is_safe(
            account,
            panel.settled[k, block, 0] - settled,
            panel.settled[k, block, 1] - settled,
            panel.marks[k, block, 0],
            panel.marks[k, block, 1],
            rules[_BRACKETS:].reshape((-1, 2)),
        ):
            break
        stop = (block + 1) * BLOCK
        row = value_held(
            account,
            panel.spot[k],
            panel.perp[k],
            panel.marked[k],
            panel.lent[k],
            settled,
            lent,
            rules[Rule.BORROW_APR],
            targets,
            rules[Rule.SPOT_SHARE],
            rules[Rule.HYSTERESIS],
            HEDGE_TOLERANCE,
            row,
            stop,
            worth,
        )
        looked = row < stop
    if not looked:
        row = max(row - 1, at)  # what happens on the way to the next row is the environment's to say
    if row > at:
        prefetch(panel.rows[k, row + 1], 0)
        _hold_until(account, then, panel.rows[k, row], rules)
        account[Seat.WORTH] = equity(account)
    return row
