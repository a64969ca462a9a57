"""What happens at once: coins that share limits, a switch thrown in the middle, decisions that queue."""

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from carryflow.core.errors import InvariantBroken, RejectedError, RetryableError
from carryflow.execution.intents import Action, Decision
from carryflow.execution.journal.records import Purpose
from carryflow.execution.limits.kill import Level
from carryflow.execution.limits.risk import Limit
from carryflow.execution.pair.states import State
from carryflow.execution.settings import LimitSettings
from carryflow.venues.simulated.server import RunningExchange
from tests.unit.execution.engine.stage import CAPITAL, KEY, SECRET, Stage

D = Decimal
Play = Callable[..., None]
BOTH = ("BTC", "ETH")
STEADY_RISE = [1.0] * 31 + [1.0 + 0.02 * minute for minute in range(1, 11)] + [1.21] * 60
LOOSE = LimitSettings(max_leverage=20.0, max_feed_age_seconds=3_600.0, max_daily_loss=1.0)


def leads(stage: Stage) -> list[str]:
    """Return how long each order was good that began to open or grow a pair."""
    orders = stage.journal.orders()
    return [order.request.time_in_force for order in orders if order.purpose is Purpose.LEAD]


@pytest.mark.parametrize(
    ("bound", "limit"),
    [
        ({"max_total_notional_quote": 10_000.0}, Limit.TOTAL_NOTIONAL),
        ({"max_leverage": 2.0}, Limit.LEVERAGE),
        ({"min_margin_distance": 0.5}, Limit.MARGIN_DISTANCE),
        ({"max_orders_per_minute": 3}, Limit.ORDER_RATE),
    ],
)
def test_coins_that_are_traded_at_once_get_round_no_limit_together(
    play: Play, bound: dict[str, Any], limit: Limit
) -> None:
    async def scenario(stage: Stage) -> None:
        outcomes = await asyncio.gather(*(stage.decide(1.0, ticker) for ticker in BOTH))
        assert [outcome.action for outcome in outcomes] == [Action.OPEN, None]
        assert [breach.limit for breach in outcomes[1].breaches] == [limit]
        await stage.decide(0.0, "BTC")
        stage.exchange.step(60_000)  # the orders of the minute before count no more
        assert (await stage.decide(1.0, "ETH")).action is Action.OPEN

    limits = LimitSettings(max_feed_age_seconds=3_600.0).model_copy(update=bound)
    play(scenario, tickers=BOTH, limits=limits, spot_share=0.75)


@pytest.mark.pitfall("P06")
def test_a_price_that_is_better_than_the_band_keeps_no_position_in(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.decide(1.0)
        told = stage.view.mark

        async def behind(ticker: str) -> Any:
            mark = await told(ticker)
            return replace(mark, price=mark.price * D("1.02"), index=mark.price * D("0.98"))

        stage.view.mark = behind
        assert (await stage.engine.flatten("a crash"))["BTC"].action is Action.CLOSE
        assert stage.statement["positions"] == {}

    play(scenario)


def test_a_coin_that_breaks_does_not_cut_off_the_close_of_another(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        for ticker in BOTH:
            await stage.decide(1.0, ticker)
        submit, sent = stage.venue.submit, list[Any]()

        async def breaking(order: Any, until_ms: int) -> Any:
            if order.ticker == "ETH":
                raise InvariantBroken("nothing adds up")
            sent.append(order)
            if len(sent) == 2:
                await asyncio.sleep(0.05)  # the other coin breaks meanwhile
            return await submit(order, until_ms)

        stage.venue.submit = breaking
        with pytest.raises(InvariantBroken, match="nothing adds up"):
            await stage.engine.flatten("enough")
        assert stage.pair("BTC").state is State.IDLE
        assert list(stage.statement["positions"]) == ["ETHUSDT"]

    play(scenario, tickers=BOTH)


@pytest.mark.pitfall("P13")
def test_help_for_a_short_opens_nothing_again_that_is_being_closed(
    play: Play, exchange_on: Callable[..., RunningExchange]
) -> None:
    exchange = exchange_on(STEADY_RISE)
    exchange.open_account(KEY, SECRET, {"USDT": CAPITAL * D("0.75")}, CAPITAL / 4)

    async def scenario(stage: Stage) -> None:
        await stage.decide(0.9)
        submit, begun, go_on = stage.venue.submit, asyncio.Event(), asyncio.Event()
        closing: list[asyncio.Task[Any]] = []

        async def held_up(*args: Any) -> Any:
            begun.set()
            await go_on.wait()
            return await submit(*args)

        async def refused(*_: Any) -> Any:
            stage.venue.submit = held_up
            closing.append(asyncio.create_task(stage.decide(0.0)))
            await begun.wait()
            asyncio.get_running_loop().call_soon(go_on.set)
            raise RejectedError("not today")

        stage.venue.transfer = refused
        while not closing:
            stage.exchange.step(5_000)
            await stage.engine.watch()
        assert (await closing[0]).action is Action.CLOSE
        assert stage.pair().perp_qty == 0
        assert len(stage.exchange.orders(KEY)) == 4

    play(scenario, on=exchange, spot_share=0.75, limits=LOOSE, reconcile_seconds=3_600.0)


def test_help_that_cannot_be_had_is_asked_for_less_and_less_and_told_now_and_then(
    play: Play, exchange_on: Callable[..., RunningExchange]
) -> None:
    exchange = exchange_on(STEADY_RISE)
    exchange.open_account(KEY, SECRET, {"USDT": CAPITAL * D("0.75")}, CAPITAL / 4)

    async def scenario(stage: Stage) -> None:
        await stage.decide(1.0)
        stage.exchange.halt("spot", "BTC", True)
        stage.exchange.step(600_000)
        before = len(stage.journal.decisions())
        for _ in range(36):
            stage.exchange.step(5_000)
            await stage.engine.watch()
        assert 2 <= len(stage.alerts) <= 4  # three minutes
        assert 4 <= len(stage.journal.decisions()) - before <= 7
        stage.exchange.halt("spot", "BTC", False)
        held = stage.pair().perp_qty
        for _ in range(12):
            stage.exchange.step(5_000)
            await stage.engine.watch()
        assert held < stage.pair().perp_qty < 0

    play(scenario, on=exchange, spot_share=0.75, limits=LOOSE)


@pytest.mark.parametrize("level", [Level.PAUSE, Level.REDUCE, Level.FLATTEN])
def test_the_switch_ends_an_opening_that_rests(
    play: Play, exchange_on: Callable[..., RunningExchange], level: Level
) -> None:
    quiet = exchange_on(flow_quote=1.0)
    quiet.open_account(KEY, SECRET, {"USDT": CAPITAL}, CAPITAL)

    async def scenario(stage: Stage) -> None:
        begun_ms = stage.clock.now_ms()
        stage.when_it_waits(lambda: stage.kill.set(level, "storm", "a person", 0))
        outcome = await stage.decide(1.0)
        assert [breach.limit for breach in outcome.breaches] == [Limit.KILL_SWITCH]
        assert "it was ended: the kill switch is at" in outcome.words
        assert [(order.status, order.executed) for order in quiet.orders(KEY)] == [("CANCELED", 0)]
        assert stage.clock.now_ms() - begun_ms < 5_000

    play(scenario, on=quiet, style="maker_first")


def test_the_switch_ends_an_opening_of_which_a_part_is_there_where_it_is_hedged(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        stage.when_it_waits(lambda: stage.kill.set(Level.REDUCE, "storm", "a person", 0))
        assert [breach.limit for breach in (await stage.decide(1.0)).breaches] == [Limit.KILL_SWITCH]
        assert leads(stage) == ["PO"]
        assert 0 < stage.pair().notional_quote < 2_000
        assert abs(stage.pair().delta_base) <= D("0.001")
        stage.require_exact()

    play(scenario, style="maker_first", poll_seconds=0.01)


def test_the_switch_lets_a_reduction_that_rests_come_to_its_end(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.decide(1.0)
        stage.when_it_waits(lambda: stage.kill.set(Level.REDUCE, "storm", "a person", 0))
        assert (await stage.decide(0.3)).breaches == ()
        assert stage.kill.level() is Level.REDUCE
        assert 2_500 < stage.pair().notional_quote < 3_500

    play(scenario, style="maker_first", maker_wait_seconds=5.0)


def test_a_decision_that_expires_while_its_order_rests_is_not_crossed_for(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        outcome = await stage.decide(1.0, valid_ms=20)
        assert [breach.limit for breach in outcome.breaches] == [Limit.EXPIRED]
        assert set(leads(stage)) == {"PO"}
        assert stage.pair().notional_quote < 5_000

    play(scenario, style="maker_first", maker_wait_seconds=0.03, poll_seconds=0.01)


def test_flatten_calls_off_what_rests_and_does_not_wait_for_it(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        flattening = list[asyncio.Task[Any]]()
        stage.when_it_waits(lambda: flattening.append(asyncio.create_task(stage.engine.flatten("enough"))))
        await stage.decide(1.0)
        await flattening[0]
        assert leads(stage) == ["PO"]
        assert stage.pair().perp_qty == 0

    play(scenario, style="maker_first", maker_wait_seconds=600.0, poll_seconds=0.01)


def test_of_decisions_that_wait_for_their_coin_the_newest_is_followed(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        decisions = [stage.decision(fraction) for fraction in (1.0, 0.0, 1.0, 0.5)]
        decisions = [replace(decision, decision_id=f"{i:016x}") for i, decision in enumerate(decisions)]
        outcomes = await asyncio.gather(*(stage.engine.apply(decision) for decision in decisions))
        assert [outcome.action for outcome in outcomes] == [Action.OPEN, None, None, Action.RESIZE]
        assert "decision 0000000000000002, which is newer, waits for BTC" in outcomes[1].words
        assert len(stage.journal.decisions()) == 4

    play(scenario)


def test_a_newer_decision_that_has_expired_stands_in_nobodys_way(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        opening, closing, late = stage.decision(1.0), stage.decision(0.0), stage.decision(1.0, valid_ms=0)
        decisions = [
            replace(decision, decision_id=f"{i:016x}") for i, decision in enumerate((opening, closing, late))
        ]
        outcomes = await asyncio.gather(*(stage.engine.apply(decision) for decision in decisions))
        assert [outcome.action for outcome in outcomes] == [Action.OPEN, Action.CLOSE, None]

    play(scenario)


def test_a_venue_that_is_silent_for_long_is_told_of_once(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        stop, looks = asyncio.Event(), list[int]()

        async def unanswered() -> None:
            looks.append(stage.clock.now_ms())
            if len(looks) == 4:
                stop.set()
            raise RetryableError("no answer")

        async def decisions() -> AsyncIterator[Decision]:
            await asyncio.Event().wait()
            yield stage.decision(1.0)

        stage.engine.watch = unanswered  # type: ignore[method-assign]
        await asyncio.wait_for(stage.engine.run(decisions(), stop), timeout=30)
        assert len(looks) >= 4
        assert [alert.words for alert in stage.alerts] == ["the venue did not answer: no answer"]

    play(scenario)
