"""The fault matrix: which leg, what goes wrong, and what is being done when it does."""

from collections import Counter
from dataclasses import dataclass, replace
from enum import StrEnum
from itertools import product

from carryflow.core.leg import LEGS, Leg
from carryflow.venues.simulated.faults import Fault, Injected
from tests.fault.episodes import ORDER_PATHS, PATIENCE_SECONDS, TRADE_PATHS, Style

_FOR_GOOD = 10_000
_SOON, _LATE_SECONDS = PATIENCE_SECONDS + 0.01, PATIENCE_SECONDS + 0.05
_REFUSAL: dict[Leg, int] = {"spot": -2010, "perp": -2019}


class Phase(StrEnum):
    """Say what is done to the pair: from which fraction of capital to which."""

    OPENING = "opening"
    CLOSING = "closing"
    RESIZING = "resizing"
    SHRINKING = "shrinking"

    @property
    def fractions(self) -> tuple[float, float]:
        """Return the fraction before, and the one that is wanted."""
        return _FRACTIONS[self]


_FRACTIONS = {
    Phase.OPENING: (0.0, 0.6),
    Phase.CLOSING: (0.6, 0.0),
    Phase.RESIZING: (0.3, 0.8),
    Phase.SHRINKING: (0.8, 0.3),
}


@dataclass(frozen=True, slots=True)
class Cell:
    """Hold one cell: a name, what goes wrong on a leg, whether it ever stops going wrong, and how orders go.

    Where it stops, the engine must end by itself, hedged, and nobody need be called; where it does not, it
    must be hedged all the same, or halted with an alert.
    """

    name: str
    leg: Leg
    phase: Phase
    style: Style
    faults: tuple[Injected, ...]
    lasting: bool
    over_websocket: bool

    def __str__(self) -> str:
        """Return what a test of it is called."""
        way = "websocket" if self.over_websocket else "http"
        return f"{self.leg}-{self.name}-{self.phase}-{self.style}-{way}".replace(" ", "_")


def cells() -> list[Cell]:
    """Return every cell of the matrix."""
    found = []
    for way, leg, phase in product((True, False), LEGS, Phase):
        for name, (faults, lasting) in _troubles(leg).items():
            found.append(Cell(name, leg, phase, "taker", faults, lasting, way))
        for name, (faults, lasting) in (_troubles(leg) | _resting_troubles(leg)).items():
            if name in _OF_MAKERS:
                found.append(Cell(name, leg, phase, "maker_first", faults, lasting, way))
    return found


def some_cells() -> list[Cell]:
    """Return an eighth of the matrix: each trouble of each leg and style, in turns with phases and ways."""
    turns: Counter[tuple[Leg, str, Style]] = Counter()
    names: dict[str, int] = {}
    found = []
    for cell in cells():
        number = names.setdefault(cell.name, len(names)) + (cell.leg == "perp")
        if cell.over_websocket == bool(number % 2):
            continue
        turn = turns[cell.leg, cell.name, cell.style]
        turns[cell.leg, cell.name, cell.style] += 1
        if turn == number % len(Phase):
            found.append(cell)
    return found


def _troubles(leg: Leg) -> dict[str, tuple[tuple[Injected, ...], bool]]:
    """Return what may go wrong on a leg, by its name, and whether it goes wrong for good."""
    path, code = ORDER_PATHS[leg], _REFUSAL[leg]

    def sent(fault: Fault, times: int = 1, late_ms: int = 0, fraction: float = 0.0) -> Injected:
        return Injected(
            fault, times, path, 0, 0, "POST", _LATE_SECONDS, fraction, late_ms, code, "refused on purpose"
        )

    def asked(fault: Fault, times: int) -> Injected:
        return Injected(fault, times, path, 0, method="GET", delay_seconds=_LATE_SECONDS)

    everything = Injected(Fault.RESET, 16)
    gone = Injected(Fault.RESET, 12, "/order"), Injected(Fault.RESET, 6, TRADE_PATHS[leg])
    return {
        "reject": ((sent(Fault.REFUSED),), False),
        "reject for good": ((sent(Fault.REFUSED, _FOR_GOOD),), True),
        "timeout but filled": ((sent(Fault.LOST_ANSWER),), False),
        "late answer": ((sent(Fault.DELAYED_ANSWER),), False),
        "timeout but filled and queries fail": (
            (sent(Fault.LOST_ANSWER), asked(Fault.RESET, 6), asked(Fault.SERVER_ERROR, 2)),
            False,
        ),
        "timeout and lost": ((sent(Fault.RESET),), False),
        "timeout and lost for good": ((sent(Fault.RESET, _FOR_GOOD),), True),
        "timeout and delivered late": ((sent(Fault.DELAYED_REQUEST),), False),
        "timeout and delivered a little late": (
            (replace(sent(Fault.DELAYED_REQUEST), delay_seconds=_SOON),),
            False,
        ),
        "partial": ((sent(Fault.PARTIAL_FILL, fraction=0.4),), False),
        "nothing of it": ((sent(Fault.PARTIAL_FILL, 2),), False),
        "partial for good": ((sent(Fault.PARTIAL_FILL, _FOR_GOOD, fraction=0.05),), True),
        "nothing for good": ((sent(Fault.PARTIAL_FILL, _FOR_GOOD),), True),
        "partial, and its answer lost": (
            (sent(Fault.PARTIAL_FILL, fraction=0.4), sent(Fault.LOST_ANSWER)),
            False,
        ),
        "late fill": ((sent(Fault.LATE_FILL, late_ms=2_000),), False),
        "very late fill": ((sent(Fault.LATE_FILL, late_ms=25_000),), True),
        "late fill, and its answer lost": (
            (sent(Fault.LATE_FILL, late_ms=2_000), sent(Fault.LOST_ANSWER)),
            False,
        ),
        "disconnect": ((sent(Fault.LOST_ANSWER), *gone), False),
        "disconnect before": ((everything,), False),
        "429": ((sent(Fault.TOO_MANY_REQUESTS, 2),), False),
        "5xx": ((sent(Fault.SERVER_ERROR, 2),), False),
        "5xx after": ((sent(Fault.ERROR_AFTER),), False),
        "half an answer": ((sent(Fault.TRUNCATED),), False),
        "duplicate acknowledgement": ((sent(Fault.REPEATED),), False),
        "nobody takes orders any more": (
            (sent(Fault.LOST_ANSWER), Injected(Fault.SERVER_ERROR, _FOR_GOOD, "/order", 0)),
            True,
        ),
        "neither hedged nor unwound": (_one_of(leg), True),
        "trades are not told": ((Injected(Fault.SERVER_ERROR, 4, TRADE_PATHS[leg]),), False),
    }


def _one_of(leg: Leg) -> tuple[Injected, ...]:
    """Return what lets one order of a leg through, and none of either leg after it."""
    path = ORDER_PATHS[leg]
    through = Injected(Fault.DELAYED_ANSWER, 1, path, 0, method="POST")
    return (through, *(_refused_for_good(each) for each in LEGS))


def _refused_for_good(leg: Leg) -> Injected:
    path, code = ORDER_PATHS[leg], _REFUSAL[leg]
    return Injected(Fault.REFUSED, _FOR_GOOD, path, 0, method="POST", code=code, words="refused on purpose")


def _resting_troubles(leg: Leg) -> dict[str, tuple[tuple[Injected, ...], bool]]:
    """Return what may go wrong with the cancel of an order that rests."""
    path = ORDER_PATHS[leg]
    partly = Injected(Fault.PARTIAL_FILL, 1, path, fraction=0.3)

    def cancelled(fault: Fault, times: int = 1) -> Injected:
        return Injected(
            fault, times, path, 0, method="DELETE", delay_seconds=_LATE_SECONDS, code=-2011, words="not now"
        )

    return {
        "cancel fails": ((partly, cancelled(Fault.RESET, 4), cancelled(Fault.SERVER_ERROR)), False),
        "cancel is refused": ((cancelled(Fault.REFUSED, 3),), False),
        "cancel fails for good": ((cancelled(Fault.SERVER_ERROR, _FOR_GOOD),), True),
        "cancel is done but not answered": ((partly, cancelled(Fault.LOST_ANSWER)), False),
    }


_OF_MAKERS = (
    "reject",
    "timeout but filled",
    "timeout and lost",
    "partial",
    "late fill",
    "disconnect",
    "duplicate acknowledgement",
    "cancel fails",
    "cancel is refused",
    "cancel fails for good",
    "cancel is done but not answered",
)
"""What may go otherwise if the first leg rests; the rest of the matrix goes by the taker's way."""
