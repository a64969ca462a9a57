"""How every trial ends: everything arrives, and then a person looks and closes everything."""

from carryflow.execution.pair.states import State
from tests.fault.stand import Stand

_AT_REST_SECONDS = 65.0
"""After that nothing that was sent can still arrive."""


async def come_to_rest(stand: Stand) -> None:
    """Let everything arrive that is still on its way, and look until nothing can be unknown."""
    for _ in range(2):
        await stand.clock.sleep(_AT_REST_SECONDS)
        await stand.engine.reconcile()


async def let_look(stand: Stand) -> None:
    """Let a person look at what is halted or blocked."""
    for pair in stand.journal.pairs():
        if pair.blocked is not None or pair.state == State.HALTED:
            await stand.engine.resume(pair.ticker, "a test looked")


async def go_home(stand: Stand) -> None:
    """Let a person look, and close everything."""
    await let_look(stand)
    await stand.engine.flatten("the test is over")
