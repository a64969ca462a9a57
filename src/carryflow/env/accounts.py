"""N accounts with their seats: what they are worth, what they hold and what they have earned."""

import numpy as np
from numpy.typing import NDArray

from carryflow.core.account import FIRST_PART, PARTS, Column
from carryflow.core.errors import InvariantBroken
from carryflow.env.kernel import survey
from carryflow.env.layout import Floats, Seat, Status


class Accounts:
    """Answer for N accounts, one number each.

    Attributes:
        books: accounts with their seats, by `core.account.Column` and `layout.Seat` (N, SEAT_WIDTH).

    """

    def __init__(self, books: Floats) -> None:
        """Take the books, which others write."""
        self.books = books

    @property
    def accounts(self) -> int:
        """Count the accounts (N)."""
        return len(self.books)

    @property
    def ledger(self) -> Floats:
        """Give the accounts themselves, columns by `core.account.Column` (N, len(Column))."""
        return self.books[:, : len(Column)]

    @property
    def equity(self) -> Floats:
        """Value each account at its last marks (quote) (N,)."""
        return self._found(0)

    @property
    def fraction(self) -> Floats:
        """Give the fraction of capital that each account has in the hedged trade (N,)."""
        return self._found(1)

    @property
    def drawdown(self) -> Floats:
        """Give how far each account lies below its peak (fraction) (N,)."""
        return self._found(2)

    @property
    def margin_ratio(self) -> Floats:
        """Give each perpetual's margin over its notional, on the mark; infinite without a position (N,)."""
        return self._found(3)

    @property
    def delta_base(self) -> Floats:
        """Give the coins of each account that are not hedged (base coin) (N,)."""
        return self._found(4)

    @property
    def turnover_quote(self) -> Floats:
        """Sum what each account has traded in both legs since its reset (quote) (N,)."""
        return self.books[:, Column.TURNOVER].copy()

    @property
    def attribution(self) -> dict[str, Floats]:
        """Explain each account's profit since its reset, by part; costs are negative (quote) (N,)."""
        return {part: self.books[:, FIRST_PART + k].copy() for k, part in enumerate(PARTS)}

    @property
    def tape(self) -> NDArray[np.int64]:
        """Give the index of the tape that each account plays (N,)."""
        return self.books[:, Seat.TAPE].astype(np.int64)

    @property
    def running(self) -> NDArray[np.bool_]:
        """Say which accounts have not ended (N,)."""
        return np.less(self.books[:, Seat.STATUS], Status.TERMINATED)

    def check_books(self, tolerance: float = 1e-9) -> None:
        """Prove that the parts explain every account's profit to `tolerance` of what it opened with.

        Raises:
            InvariantBroken: they do not.

        """
        off = self._found(5)
        if not (np.abs(off) <= tolerance * self.books[:, Column.OPENING]).all():
            worst = int(np.nanargmax(np.abs(off)))
            raise InvariantBroken(
                f"account {worst}: {off[worst]} quote of profit is explained by no part; report it"
            )

    def _found(self, which: int) -> Floats:
        found: Floats = survey(self.books)[which]
        return found
