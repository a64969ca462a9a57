from itertools import product

import pytest

from carryflow.core.errors import InvariantBroken
from carryflow.execution.pair.states import TRANSITIONS, Event, State, after

STEPS = {
    State.IDLE: {Event.PLANNED, Event.DIVERGED, Event.LOST_TRACK},
    State.LEADING: {Event.LEAD_ENDED, Event.AMBIGUOUS},
    State.CHASING: {Event.HEDGED, Event.OUT_OF_TIME, Event.AMBIGUOUS},
    State.UNWINDING: {Event.HEDGED, Event.OUT_OF_TIME, Event.AMBIGUOUS},
    State.UNKNOWN: {Event.PROVED, Event.OUT_OF_TIME},
    State.HALTED: {Event.RESUMED},
}


@pytest.mark.parametrize(("state", "event"), list(product(State, Event)))
def test_a_pair_takes_the_steps_of_the_table_and_no_other(state: State, event: Event) -> None:
    if event in STEPS[state]:
        assert after(state, event) is TRANSITIONS[state, event]
    else:
        with pytest.raises(InvariantBroken, match=f"{state} met the event {event}"):
            after(state, event)


def test_every_state_can_be_reached_and_left() -> None:
    assert {target for _, target in TRANSITIONS.items()} | {State.IDLE} == set(State)
    assert {state for state, _ in TRANSITIONS} == set(State)


@pytest.mark.pitfall("P12")
def test_what_is_unknown_is_left_by_proof_or_by_a_person_only() -> None:
    ways = {event: target for (state, event), target in TRANSITIONS.items() if state is State.UNKNOWN}
    assert ways == {Event.PROVED: State.CHASING, Event.OUT_OF_TIME: State.HALTED}


@pytest.mark.pitfall("P09")
def test_no_way_leads_from_one_leg_to_rest_but_over_a_hedge_or_a_person() -> None:
    ways = {(state, event) for (state, event), target in TRANSITIONS.items() if target is State.IDLE}
    assert ways == {(State.CHASING, Event.HEDGED), (State.UNWINDING, Event.HEDGED)}
