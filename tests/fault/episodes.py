"""Random lives of an engine: what is wanted of it, what goes wrong, what others do to its account."""

import random
from dataclasses import dataclass, replace
from typing import Literal

from carryflow.core.leg import LEGS, Leg
from carryflow.execution.limits.kill import Level
from carryflow.execution.orders import Wallet
from carryflow.venues.simulated.faults import Fault, Injected
from tests.fault.market import TICKERS

ORDER_PATHS: dict[Leg, str] = {"spot": "/api/v3/order", "perp": "/fapi/v1/order"}
"""Where a leg's orders are sent, asked for and cancelled, by the HTTP method."""

TRADE_PATHS: dict[Leg, str] = {"spot": "/api/v3/myTrades", "perp": "/fapi/v1/userTrades"}

_OTHER_PATHS = (
    *TRADE_PATHS.values(),
    "/depth",
    "/premiumIndex",
    "/account",
    "/balance",
    "/positionRisk",
    "/openOrders",
    "/income",
    "/asset/transfer",
    "/time",
)

_UNSENT = (Fault.RESET, Fault.TOO_MANY_REQUESTS, Fault.SERVER_ERROR, Fault.REFUSED)
_UNANSWERED = (Fault.LOST_ANSWER, Fault.ERROR_AFTER, Fault.TRUNCATED, Fault.DELAYED_ANSWER)
_BETWEEN = (*_UNSENT[:3], *_UNANSWERED)

PATIENCE_SECONDS = 0.25
"""How long a client here waits for an answer (the machine's seconds)."""

_LATE_SECONDS = (PATIENCE_SECONDS + 0.01, PATIENCE_SECONDS + 0.05)


@dataclass(frozen=True, slots=True)
class Decide:
    """Want so much of one ticker (fraction of capital)."""

    ticker: str
    fraction: float


@dataclass(frozen=True, slots=True)
class Trouble:
    """Let the venue go wrong from now on, until the fault has met all the requests that it is due for."""

    injected: Injected


@dataclass(frozen=True, slots=True)
class ByHand:
    """Let a person trade one leg of a ticker: so many coarser lots, signed; `later_seconds` from now."""

    leg: Leg
    ticker: str
    lots: int
    later_seconds: float


@dataclass(frozen=True, slots=True)
class Deleverage:
    """Let the venue close part of a position."""

    ticker: str
    fraction: float
    later_seconds: float


@dataclass(frozen=True, slots=True)
class Move:
    """Let a person move money (quote) to a wallet."""

    amount: int
    to: Wallet


@dataclass(frozen=True, slots=True)
class Halt:
    """Let a market take no orders for a while."""

    leg: Leg
    ticker: str
    seconds: float


@dataclass(frozen=True, slots=True)
class Maintain:
    """Let the whole venue be under maintenance for a while."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Wait:
    """Let the venue's time pass."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Look:
    """Reconcile, and look at the margins."""


@dataclass(frozen=True, slots=True)
class Resume:
    """Let a person look at whatever is blocked, and let it trade again."""


@dataclass(frozen=True, slots=True)
class Switch:
    """Set the kill switch, or (None) clear it."""

    level: Level | None


@dataclass(frozen=True, slots=True)
class Crash:
    """Let the engine end within the next decision, after so many turns of its loop, and another start."""

    turns: int


Step = Decide | Trouble | ByHand | Deleverage | Move | Halt | Maintain | Wait | Look | Resume | Switch | Crash
Style = Literal["taker", "maker_first"]


@dataclass(frozen=True, slots=True)
class Episode:
    """Hold one life: its name, how it trades, how long before a bar's close it begins, and what happens."""

    seed: int
    style: Style
    before_close_ms: int
    steps: tuple[Step, ...]


def draw_episode(seed: int) -> Episode:
    """Draw an episode: three to six decisions, each among faults and strangers."""
    rng = random.Random(seed)  # noqa: S311 - no secret
    steps: list[Step] = []
    for _ in range(rng.randint(3, 6)):
        steps += _disturbance(rng)
        steps.append(Decide(rng.choice(TICKERS[:2]), rng.choice((0.0, 0.0, 0.2, 0.5, 0.8, 1.0))))
        if rng.random() < 0.4:
            steps.append(Look())
        if rng.random() < 0.3:
            steps += [Look(), Resume()]
        if rng.random() < 0.3:
            steps.append(Wait(rng.choice((0.2, 3.0, 20.0, 90.0))))
    return Episode(seed, rng.choice(("taker", "maker_first")), rng.randint(1, 20_000), tuple(steps))


def _disturbance(rng: random.Random) -> list[Step]:
    """Draw what happens before and within one decision."""
    steps: list[Step] = [Trouble(draw_trouble(rng)) for _ in range(rng.randint(0, 3))]
    if rng.random() < 0.25:
        steps.append(_stranger(rng))
    if rng.random() < 0.12:
        steps.append(Crash(rng.randint(1, 60)))
    if rng.random() < 0.05:
        steps.append(Switch(rng.choice((None, *Level))))
    return steps


def _stranger(rng: random.Random) -> Step:
    ticker, leg = rng.choice(TICKERS[:2]), rng.choice(LEGS)
    draws: tuple[Step, ...] = (
        ByHand(leg, ticker, rng.choice((-30, -3, 2, 20)), rng.choice((0.0, 0.0, 0.3, 2.0))),
        Deleverage(ticker, rng.choice((0.3, 1.0)), rng.choice((0.0, 0.3))),
        Move(rng.choice((50, 5_000)), rng.choice(tuple(Wallet))),
        Halt(leg, ticker, rng.choice((2.0, 15.0, 120.0))),
        Maintain(rng.choice((1.0, 10.0))),
    )
    return rng.choice(draws)


def draw_trouble(rng: random.Random) -> Injected:
    """Draw a fault, where it strikes, and how often."""
    leg: Leg = rng.choice(LEGS)
    times = rng.choice((1, 1, 1, 2, 3, 6))
    orders = ORDER_PATHS[leg]
    late, part = rng.choice((300, 2_000, 8_000)), rng.choice((0.0, 0.1, 0.5, 0.9))
    code = rng.choice({"spot": (-2010, -1013), "perp": (-2019, -4164)}[leg])
    sent = rng.choice((*_BETWEEN, Fault.REFUSED, Fault.DELAYED_REQUEST, Fault.REPEATED))
    troubles = {
        31: replace(_between(sent, times, orders, "POST", code), delay_seconds=rng.choice(_LATE_SECONDS)),
        15: Injected(Fault.PARTIAL_FILL, times, orders, fraction=part),
        10: Injected(Fault.LATE_FILL, times, orders, late_ms=late),
        14: _between(rng.choice(_BETWEEN), times, orders, "GET"),
        12: _between(rng.choice(_BETWEEN), times, orders, "DELETE"),
        16: _between(rng.choice(_BETWEEN), times, rng.choice(_OTHER_PATHS), ""),
        2: Injected(Fault.STALE_BOOK, times, "/depth"),
        1: _between(Fault.RESET, times + 3, "", ""),  # the line is down, whatever is asked
    }
    return rng.choices(tuple(troubles.values()), tuple(troubles))[0]


def _between(fault: Fault, times: int, path: str, method: str, code: int = -2010) -> Injected:
    """Return a fault between us and the venue; what is held back is held for longer than a client waits.

    What is no order is asked for again by the HTTP client itself, once, where the connection is closed.
    """
    again = 2 if method != "POST" and fault in (Fault.RESET, Fault.LOST_ANSWER) else 1
    late = _LATE_SECONDS[1]
    return Injected(fault, again * times, path, 0, method=method, delay_seconds=late, code=code)
