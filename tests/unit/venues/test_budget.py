import asyncio
import time

import pytest

from carryflow.core.errors import RejectedError
from carryflow.venues.budget import Errand, Priority, RequestBudget, on_errand
from carryflow.venues.connection import VenueConnection
from carryflow.venues.settings import VenueName, VenueSettings


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


class StandingClock:
    """A clock that moves only where somebody waits."""

    def __init__(self) -> None:
        self.seconds = 1_000.0

    def now(self) -> float:
        return self.seconds

    async def sleep(self, seconds: float) -> None:
        self.seconds += seconds
        await asyncio.sleep(0)


@pytest.mark.pitfall("P20")
def test_the_last_places_are_kept_for_cancels_and_closes() -> None:
    async def crowd() -> tuple[int, int]:
        budget, ordinary, cancelled = RequestBudget(4, reserve=2), 0, asyncio.Event()

        async def question() -> None:
            nonlocal ordinary
            async with budget.turn():
                ordinary += 1
                await cancelled.wait()

        async def cancel() -> None:
            with on_errand(Errand(Priority.URGENT)):
                async with budget.turn():
                    pass

        questions = [asyncio.ensure_future(question()) for _ in range(9)]
        await asyncio.sleep(0)
        await asyncio.wait_for(asyncio.gather(*(cancel() for _ in range(5))), 1)
        held = ordinary
        cancelled.set()
        await asyncio.gather(*questions)
        return held, ordinary

    assert asyncio.run(crowd()) == (2, 9)


@pytest.mark.pitfall("P20")
def test_what_is_left_of_a_minute_is_for_orders_and_cancels_only() -> None:
    async def held() -> tuple[float, float, float]:
        budget, clock = RequestBudget(4, reserve=1), StandingClock()
        budget.keep_time(clock.now, clock.sleep)
        budget.hold(40)
        with on_errand(Errand(Priority.URGENT)):
            async with budget.turn():
                urgent_at = clock.now()
        with on_errand(Errand(Priority.ORDER)):
            async with budget.turn():
                ordered_at = clock.now()
        async with budget.turn():
            return urgent_at, ordered_at, clock.now()

    assert asyncio.run(held()) == (1_000, 1_000, 1_040)


def test_a_pause_that_the_venue_asks_for_holds_for_cancels_too() -> None:
    async def paused() -> float:
        budget, clock = RequestBudget(4, reserve=1), StandingClock()
        budget.keep_time(clock.now, clock.sleep)
        budget.pause(5)
        with on_errand(Errand(Priority.URGENT)):
            async with budget.turn():
                return clock.now()

    assert asyncio.run(paused()) == 1_005


@pytest.mark.pitfall("P20")
def test_a_ban_ends_when_the_venue_said() -> None:
    async def banned() -> None:
        budget, clock = RequestBudget(1), StandingClock()
        budget.keep_time(clock.now, clock.sleep)
        budget.ban("banned for two minutes", 120)
        with pytest.raises(RejectedError, match="banned for two minutes"), on_errand(Errand(Priority.URGENT)):
            async with budget.turn():
                pass
        await clock.sleep(120)
        async with budget.turn():
            assert budget.sent == 1

    asyncio.run(banned())


class HeldClock(StandingClock):
    """A clock by which a wait takes as long as a test wants it to."""

    def __init__(self) -> None:
        super().__init__()
        self.passed = asyncio.Event()

    async def sleep(self, seconds: float) -> None:
        until = self.seconds + seconds
        await self.passed.wait()
        self.seconds = max(self.seconds, until)


async def settle() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


@pytest.mark.pitfall("P20")
def test_an_order_passes_questions_that_wait_for_the_next_minute() -> None:
    async def crowd() -> None:
        budget, clock, asked = RequestBudget(8, reserve=2), HeldClock(), 0
        budget.keep_time(clock.now, clock.sleep)
        budget.hold(40)

        async def question() -> None:
            nonlocal asked
            async with budget.turn():
                asked += 1

        questions = [asyncio.ensure_future(question()) for _ in range(6)]
        await settle()
        with on_errand(Errand(Priority.ORDER)):
            async with asyncio.timeout(1), budget.turn():
                assert (clock.now(), asked) == (1_000, 0)
        clock.passed.set()
        await asyncio.gather(*questions)
        assert (clock.now(), asked) == (1_040, 6)

    asyncio.run(crowd())


@pytest.mark.pitfall("P20")
def test_a_question_that_waited_for_a_place_while_the_minute_was_used_up_waits_for_the_next() -> None:
    async def crowd() -> float:
        budget, clock = RequestBudget(1), StandingClock()
        budget.keep_time(clock.now, clock.sleep)

        async def question() -> float:
            async with budget.turn():
                return clock.now()

        async with budget.turn():
            waiting = asyncio.ensure_future(question())
            await settle()
            budget.hold(40)
        return await waiting

    assert asyncio.run(crowd()) == 1_040


def test_of_two_holds_the_longer_counts() -> None:
    async def held() -> float:
        budget, clock = RequestBudget(1), StandingClock()
        budget.keep_time(clock.now, clock.sleep)
        budget.hold(40)
        budget.hold(5)
        async with budget.turn():
            return clock.now()

    assert asyncio.run(held()) == 1_040


CLOCKS: dict[VenueName, str] = {
    "binance": "publicGetTime",
    "bybit": "publicGetV5MarketTime",
    "okx": "publicGetPublicTime",
    "deribit": "publicGetGetTime",
}


class Paced:
    """A connection to a venue whose answers are nothing, and whose numbers are texts."""

    def __init__(self, name: VenueName) -> None:
        self.connection = VenueConnection(VenueSettings(name=name))
        exchange = self.connection.exchange
        exchange.fetch, exchange.number = self._answer, str
        self.ask = getattr(exchange, CLOCKS[name])

    async def _answer(self, *_: object) -> dict[str, str]:
        return {}


@pytest.mark.parametrize("name", CLOCKS)
def test_the_limiter_counts_where_numbers_are_handed_on_as_texts(name: VenueName) -> None:
    async def ask() -> None:
        venue = Paced(name)
        for _ in range(2):
            await asyncio.wait_for(venue.ask(), 2)
        await venue.connection.exchange.close()

    asyncio.run(ask())


@pytest.mark.pitfall("P20")
def test_an_order_passes_questions_that_wait_for_the_limiter_and_is_counted_by_it() -> None:
    async def crowd() -> None:
        venue = Paced("binance")
        limiter = venue.connection.exchange.throttler
        limiter.config["refillRate"] = 0.0  # whoever waits for it waits for ever
        questions = [asyncio.ensure_future(venue.ask()) for _ in range(50)]
        await settle()
        waiting = len(limiter.queue)
        assert waiting > 40
        with on_errand(Errand(Priority.ORDER)):
            await asyncio.wait_for(venue.ask(), 5)
        assert len(limiter.queue) == waiting + 1
        for question in questions:
            question.cancel()
        await asyncio.gather(*questions, return_exceptions=True)
        await venue.connection.exchange.close()

    asyncio.run(crowd())
