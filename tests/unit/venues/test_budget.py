import asyncio
import time

import pytest

from carryflow.core.errors import RejectedError
from carryflow.venues.budget import RequestBudget


def test_no_more_requests_are_under_way_than_there_are_places() -> None:
    async def crowd() -> tuple[int, int]:
        budget, under_way, most = RequestBudget(3), 0, 0

        async def request() -> None:
            nonlocal under_way, most
            async with budget.turn():
                under_way += 1
                most = max(most, under_way)
                await asyncio.sleep(0)
                under_way -= 1

        await asyncio.gather(*(request() for _ in range(20)))
        return most, budget.sent

    assert asyncio.run(crowd()) == (3, 20)


@pytest.mark.pitfall("P20")
def test_a_pause_holds_everybody_back_and_a_ban_stops_everybody() -> None:
    async def refused() -> None:
        budget = RequestBudget(2)
        budget.pause(0.1)
        budget.pause(0.01)
        began = time.monotonic()
        async with budget.turn():
            assert time.monotonic() - began >= 0.09
        budget.ban("banned until tomorrow")
        with pytest.raises(RejectedError, match="banned until tomorrow"):
            async with budget.turn():
                pass
        assert budget.sent == 1

    asyncio.run(refused())
