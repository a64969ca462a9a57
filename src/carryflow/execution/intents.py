"""What is wanted: decisions of a policy, the intents that they become, and the names of their orders."""

import hashlib
from dataclasses import dataclass
from decimal import Decimal
from enum import StrEnum

from carryflow.core.leg import Leg


@dataclass(frozen=True, slots=True)
class Decision:
    """Hold what a policy, a person or a limit wants of one ticker.

    Attributes:
        decision_id: the name under which it is found again, 16 hexadecimal digits.
        ticker: the coin.
        fraction: fraction of capital to have in the hedged trade, −1 to 1; positive: long spot, short perp.
        decided_ms: when (the engine's clock, UTC ms).
        expires_ms: from when on it must not be acted on (UTC ms).
        source: who decided: a bundle's hash, a baseline's name, "person", "limit".
        reason: why, in words.
    """

    decision_id: str
    ticker: str
    fraction: float
    decided_ms: int
    expires_ms: int
    source: str
    reason: str = ""


class Action(StrEnum):
    """Say what an intent does to the pair."""

    OPEN = "open"
    CLOSE = "close"
    RESIZE = "resize"
    UNWIND = "unwind"


@dataclass(frozen=True, slots=True)
class Intent:
    """Hold what a decision comes to: the pair to have, and the market that it was sized on.

    Attributes:
        intent_id: the name under which it is found again, 16 hexadecimal digits.
        decision_id: the decision behind it.
        ticker: the coin.
        action: what it does to the pair.
        target_base: coins to hold (signed); the perpetual is its negative.
        spot_reference: spot mid that it was sized on (quote).
        perp_reference: perpetual's mid (quote).
        mark: mark price (quote).
        created_ms: when (the engine's clock, UTC ms).
    """

    intent_id: str
    decision_id: str
    ticker: str
    action: Action
    target_base: Decimal
    spot_reference: Decimal
    perp_reference: Decimal
    mark: Decimal
    created_ms: int


def client_order_id(intent_id: str, leg: Leg, attempt: int) -> str:
    """Return the one name of an intent's n-th order of a leg: the same order is always sent by the same name.

    32 characters, as all venues take them.

    >>> client_order_id("00ff00ff00ff00ff", "spot", 0)
    'cf-68314e65db5179927f7381a96f091'
    """
    digest = hashlib.sha256(f"{intent_id}/{leg}/{attempt}".encode()).hexdigest()
    return f"cf-{digest[:29]}"
