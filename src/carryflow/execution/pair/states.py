"""The states of a pair, as a table: where one leg is on its way, and where it may go from there.

```
                 PLANNED              LEAD_ENDED             HEDGED
        IDLE ────────────► LEADING ────────────► CHASING ────────────► IDLE
         │                                          │ OUT_OF_TIME
         │ DIVERGED                                 ▼        HEDGED
         └───────────────────────────────────► UNWINDING ────────────► IDLE
                                                    │ OUT_OF_TIME
        LEADING, CHASING, UNWINDING                 ▼        RESUMED
           │ AMBIGUOUS      OUT_OF_TIME           HALTED ────────────► UNWINDING
           └───────► UNKNOWN ───────────────────────┘
                        │ PROVED
                        └───────► CHASING
```

LOST_TRACK leads from IDLE to HALTED: the venue holds what no trade explains.
"""

from collections.abc import Mapping
from enum import StrEnum
from types import MappingProxyType

from carryflow.core.errors import InvariantBroken


class State(StrEnum):
    """Say where a pair is."""

    IDLE = "idle"  # nothing is on its way, and the legs differ by no more than the coarser lot
    LEADING = "leading"  # the first leg is on its way
    CHASING = "chasing"  # the second leg follows what the first has filled
    UNWINDING = "unwinding"  # what has no hedge is brought back
    UNKNOWN = "unknown"  # it is not known what became of an order
    HALTED = "halted"  # a person must look


class Event(StrEnum):
    """Say what happened to a pair."""

    PLANNED = "planned"  # orders are written down that bring it to its target
    LEAD_ENDED = "lead_ended"  # nothing more can come of the first leg's order
    HEDGED = "hedged"  # the legs differ by no more than the coarser lot
    OUT_OF_TIME = "out_of_time"  # it cannot be done, or not within its time
    AMBIGUOUS = "ambiguous"  # an order was sent and no answer tells what became of it
    PROVED = "proved"  # the venue told what became of every order
    DIVERGED = "diverged"  # the legs differ, and none of our orders is at work
    LOST_TRACK = "lost_track"  # the venue holds what no trade explains
    RESUMED = "resumed"  # a person looked


TRANSITIONS: Mapping[tuple[State, Event], State] = MappingProxyType(
    {
        (State.IDLE, Event.PLANNED): State.LEADING,
        (State.IDLE, Event.DIVERGED): State.UNWINDING,
        (State.IDLE, Event.LOST_TRACK): State.HALTED,
        (State.LEADING, Event.LEAD_ENDED): State.CHASING,
        (State.LEADING, Event.AMBIGUOUS): State.UNKNOWN,
        (State.CHASING, Event.HEDGED): State.IDLE,
        (State.CHASING, Event.OUT_OF_TIME): State.UNWINDING,
        (State.CHASING, Event.AMBIGUOUS): State.UNKNOWN,
        (State.UNWINDING, Event.HEDGED): State.IDLE,
        (State.UNWINDING, Event.OUT_OF_TIME): State.HALTED,
        (State.UNWINDING, Event.AMBIGUOUS): State.UNKNOWN,
        (State.UNKNOWN, Event.PROVED): State.CHASING,
        (State.UNKNOWN, Event.OUT_OF_TIME): State.HALTED,
        (State.HALTED, Event.RESUMED): State.UNWINDING,
    }
)
"""Every step that a pair may take; there is no other."""


def after(state: State, event: Event) -> State:
    """Return the state that an event leads to.

    >>> after(State.LEADING, Event.AMBIGUOUS)
    <State.UNKNOWN: 'unknown'>

    Raises:
        InvariantBroken: the table has no such step.
    """
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise InvariantBroken(
            f"a pair that is {state} met the event {event}, which leads nowhere from there; halt the engine "
            "and look into its journal"
        ) from None
