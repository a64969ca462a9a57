"""A shift of the engine: decisions as they come, chores at their pauses, and an orderly end."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NamedTuple

from carryflow.core.errors import VenueError
from carryflow.execution.intents import Decision
from carryflow.execution.journal.records import Severity
from carryflow.execution.world import World


class Chore(NamedTuple):
    """Hold what is done again and again, and the pause between (seconds of the engine's clock)."""

    work: Callable[[], Awaitable[Any]]
    seconds: float


class Shift:
    """Work until there are no more decisions, somebody stops, or something breaks.

    Args:
        follow: what follows a decision to its end.
        chores: what is done meanwhile.
        world: clock and alarm.

    """

    def __init__(
        self, follow: Callable[[Decision], Awaitable[Any]], chores: list[Chore], world: World
    ) -> None:
        self._follow = follow
        self._chores = chores
        self._world = world
        self._ending = asyncio.Event()

    async def work(self, decisions: AsyncIterator[Decision], stop: asyncio.Event) -> None:
        """Follow decisions until there are no more or somebody stops; what is under way is seen to its end.

        Raises:
            CarryflowError: something broke, and a person has been told.
        """
        chores = {asyncio.create_task(self._repeat(chore)) for chore in self._chores}
        following: set[asyncio.Task[Any]] = set()
        stopping = asyncio.create_task(stop.wait())
        coming = asyncio.create_task(_next(decisions))
        broken: BaseException | None = None
        try:
            while broken is None and not stopping.done():
                waiting = {coming, stopping, *chores, *following}
                done, _ = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
                broken = next((task.exception() for task in done if task.exception() is not None), None)
                following -= done
                if broken is None and coming in done:
                    decision = coming.result()
                    if decision is None:
                        break
                    following.add(asyncio.create_task(self._met(decision)))
                    coming = asyncio.create_task(_next(decisions))
        finally:
            self._ending.set()
            for task in (coming, stopping):
                task.cancel()
            ended = await asyncio.gather(coming, stopping, *following, *chores, return_exceptions=True)
        failures = [error for error in (broken, *ended) if isinstance(error, Exception)]
        if failures:
            words = f"the engine stops: {failures[0]}"
            self._world.tell(Severity.CRITICAL, None, words)
            raise failures[0]

    async def _met(self, decision: Decision) -> None:
        await self._follow(decision)

    async def _repeat(self, chore: Chore) -> None:
        """Do a chore, pause, and do it again, until the shift ends."""
        ending = asyncio.create_task(self._ending.wait())
        silent = False
        try:
            while not ending.done():
                try:
                    await chore.work()
                    silent = False
                except VenueError as error:
                    if not silent:
                        self._world.tell(Severity.WARNING, None, f"the venue did not answer: {error}")
                    silent = True
                pause = asyncio.create_task(self._world.clock.sleep(chore.seconds))
                await asyncio.wait({pause, ending}, return_when=asyncio.FIRST_COMPLETED)
                pause.cancel()
                await asyncio.gather(pause, return_exceptions=True)
        finally:
            ending.cancel()
            await asyncio.gather(ending, return_exceptions=True)


async def _next(decisions: AsyncIterator[Decision]) -> Decision | None:
    return await anext(decisions, None)
