"""What a crash, a lost answer or a silent venue leaves behind."""

import asyncio
from collections.abc import Callable
from decimal import Decimal
from typing import Any

import pytest

from carryflow.execution.journal.journal import Journal
from carryflow.execution.limits.risk import Limit
from carryflow.execution.pair.states import State
from carryflow.venues.simulated.faults import Fault
from carryflow.venues.simulated.server import RunningExchange
from tests.unit.execution.engine.stage import CAPITAL, KEY, SECRET, Stage

D = Decimal
Play = Callable[..., None]
SPOT_ORDER, PERP_ORDER = "/api/v3/order", "/fapi/v1/order"

RECORDS = ["record_intent", "record_report"]


class Killed(BaseException):
    """End the engine as SIGKILL would: nothing of ours is run after it but what the test does."""


def deaths(monkeypatch: pytest.MonkeyPatch, name: str, call: int, before: bool) -> None:
    """Kill whoever calls a method of the journal the n-th time, before or after it has written."""
    written, left = getattr(Journal, name), [call]

    def dying(self: Journal, *args: Any, **kwargs: Any) -> Any:
        left[0] -= 1
        if left[0] == 0 and before:
            raise Killed
        result = written(self, *args, **kwargs)
        if left[0] == 0:
            raise Killed
        return result

    monkeypatch.setattr(Journal, name, dying)


def names_of(exchange: RunningExchange) -> list[str]:
    return [order.client_id for order in exchange.orders(KEY)]


@pytest.mark.pitfall("P11")
@pytest.mark.parametrize("before", [True, False], ids=["before", "after"])
@pytest.mark.parametrize(
    ("record", "call"),
    [("record_intent", 1), ("record_report", 1), ("record_report", 2)],
    ids=["the order", "the first answer", "the second answer"],
)
@pytest.mark.parametrize("closing", [False, True], ids=["opening", "closing"])
def test_a_kill_around_any_record_leaves_no_leg_alone_and_no_order_twice(
    play: Play, monkeypatch: pytest.MonkeyPatch, record: str, call: int, before: bool, closing: bool
) -> None:
    async def killed(stage: Stage) -> None:
        if closing:
            await stage.decide(1.0)
        deaths(monkeypatch, record, call, before)
        with pytest.raises(Killed):
            await stage.decide(0.0 if closing else 1.0)

    async def after(stage: Stage) -> None:
        assert stage.pair().state is State.IDLE
        assert abs(stage.pair().delta_base) <= D("0.001")
        names = names_of(stage.exchange)
        assert len(names) == len(set(names))
        assert all(order.finished for order in stage.journal.orders())
        assert set(names) <= {order.request.client_id for order in stage.journal.orders()}
        stage.require_exact()
        assert (await stage.decide(0.0)).state is State.IDLE
        assert stage.pair().perp_qty == 0
        stage.require_exact()

    play(killed)
    monkeypatch.undo()
    play(after)


@pytest.mark.pitfall("P11")
@pytest.mark.parametrize("path", [SPOT_ORDER, PERP_ORDER])
def test_an_order_that_never_arrived_is_sent_again_by_the_same_name(play: Play, path: str) -> None:
    async def scenario(stage: Stage) -> None:
        stage.exchange.inject(Fault.RESET, times=1, path=path, method="POST")
        assert abs((await stage.decide(1.0)).delta_base) <= D("0.001")
        names = names_of(stage.exchange)
        assert len(names) == len(set(names)) == 2
        assert {(order.request.leg, order.attempt) for order in stage.journal.orders()} == {
            ("spot", 0),
            ("perp", 0),
        }
        stage.require_exact()

    play(scenario)


@pytest.mark.pitfall("P11")
@pytest.mark.parametrize("path", [SPOT_ORDER, PERP_ORDER])
@pytest.mark.parametrize("fault", [Fault.LOST_ANSWER, Fault.ERROR_AFTER])
def test_an_order_whose_answer_is_lost_is_asked_about_and_not_sent_again(
    play: Play, path: str, fault: Fault
) -> None:
    async def scenario(stage: Stage) -> None:
        stage.exchange.inject(fault, times=1, path=path, method="POST")
        assert abs((await stage.decide(1.0)).delta_base) <= D("0.001")
        assert len(names_of(stage.exchange)) == 2
        assert stage.pair().notional_quote > 9_000
        stage.require_exact()

    play(scenario)


@pytest.mark.pitfall("P12")
def test_what_the_venue_does_not_tell_stays_unknown_and_blocks_until_a_person_resumes(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        for path in (SPOT_ORDER, PERP_ORDER):
            stage.exchange.inject(Fault.LOST_ANSWER, times=1, path=path, method="POST")
        for path in (SPOT_ORDER, PERP_ORDER, "Trades"):
            stage.exchange.inject(Fault.SERVER_ERROR, times=10_000, path=path, method="GET")
        outcome = await stage.decide(1.0)
        assert outcome.state is State.HALTED
        assert len(stage.calls) == 1
        unknown = stage.journal.orders(unfinished=True)
        assert len(unknown) == 1
        for _ in range(2):
            found = await stage.engine.reconcile()
            assert (found.complete, found.unknown) == (False, (unknown[0].request.client_id,))
        assert (await stage.decide(1.0)).action is None
        assert not await stage.engine.resume("BTC", "too early")
        stage.exchange.clear_faults()
        found = await stage.engine.reconcile()
        assert (found.complete, found.unknown) == (True, ())
        assert stage.pair().state is State.HALTED
        assert len(names_of(stage.exchange)) == 1
        assert await stage.engine.resume("BTC", "looked at it")
        assert stage.pair().state is State.IDLE
        assert abs(stage.pair().delta_base) <= D("0.001")
        stage.require_exact()

    play(scenario, unknown_seconds=5.0)


@pytest.mark.pitfall("P12")
def test_reconciling_twice_equals_once(play: Play, half: Decimal) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.decide(1.0)
        stage.exchange.foreign_order(KEY, "spot", "BTC", "buy", D("0.00050"))
        first = await stage.engine.reconcile()
        before = (stage.engine.books.equity, len(stage.journal.fills()), len(stage.alerts))
        second = await stage.engine.reconcile()
        assert (first.fills, second.fills) == (1, 0)
        assert before == (stage.engine.books.equity, len(stage.journal.fills()), len(stage.alerts))
        assert second.differences == ()
        stage.require_exact()

    play(scenario)


@pytest.mark.pitfall("P12")
def test_the_books_of_an_engine_that_starts_again_are_the_same(play: Play) -> None:
    equities = []

    async def first(stage: Stage) -> None:
        await stage.decide(1.0)
        await stage.decide(0.4)
        await stage.engine.reconcile()
        equities.append(stage.engine.books.equity)

    async def second(stage: Stage) -> None:
        equities.append(stage.engine.books.equity)
        assert (await stage.decide(0.4)).action is None
        stage.require_exact()

    play(first)
    play(second)
    assert equities[0] == pytest.approx(equities[1], abs=1e-8)


def test_an_order_of_ours_that_rests_when_the_engine_dies_is_cancelled_by_the_next(play: Play) -> None:
    async def killed(stage: Stage) -> None:
        rests = asyncio.Event()

        async def wait_for_ever(_: float) -> None:
            rests.set()
            await asyncio.Event().wait()

        stage.clock.sleep = wait_for_ever
        task = asyncio.create_task(stage.decide(1.0))
        await asyncio.wait_for(rests.wait(), timeout=30)
        assert stage.statement["open_orders"] == 1
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def after(stage: Stage) -> None:
        assert stage.statement["open_orders"] == 0
        assert stage.pair().state is State.IDLE
        assert stage.journal.orders(unfinished=True) == []
        stage.require_exact()

    play(killed, style="maker_first")
    play(after)


@pytest.mark.pitfall("P11")
def test_cash_that_was_on_its_way_at_a_kill_is_not_sent_again(
    play: Play, monkeypatch: pytest.MonkeyPatch, exchange_on: Callable[..., RunningExchange]
) -> None:
    exchange = exchange_on()
    exchange.open_account(KEY, SECRET, {"USDT": CAPITAL}, D(0))

    async def nothing(_: Stage) -> None: ...

    async def after(stage: Stage) -> None:
        assert len(exchange.transfers(KEY)) == len(stage.journal.transfers()) == 1
        assert D(stage.statement["futures"]) == CAPITAL / 2
        stage.require_exact()

    deaths(monkeypatch, "settle_transfer", 1, before=True)
    with pytest.raises(Killed):
        play(nothing, on=exchange)
    monkeypatch.undo()
    play(after, on=exchange)


@pytest.mark.pitfall("P14")
def test_a_hedge_that_a_person_closes_has_its_coins_sold_and_is_not_opened_again(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.decide(1.0)
        stage.exchange.foreign_order(KEY, "perp", "BTC", "buy", -stage.pair().perp_qty)
        await stage.engine.reconcile()
        pair = stage.pair()
        assert (pair.state, pair.perp_qty) == (State.IDLE, 0)
        assert abs(pair.spot_qty) <= D("0.001")
        assert any("not ours: perp buy" in words for words in stage.calls)
        assert (await stage.decide(1.0)).breaches[0].limit is Limit.BLOCKED
        stage.require_exact()
        assert await stage.engine.resume("BTC", "it was me")
        assert (await stage.decide(1.0)).action is not None

    play(scenario)


@pytest.mark.pitfall("P14")
def test_coins_that_are_gone_have_their_hedge_bought_back(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.decide(1.0)
        stage.exchange.foreign_order(KEY, "spot", "BTC", "sell", D("0.1"))
        await stage.engine.reconcile()
        assert abs(stage.pair().delta_base) <= D("0.001")
        assert stage.pair().perp_qty > D("-0.1")
        stage.require_exact()

    play(scenario)


@pytest.mark.pitfall("P14")
def test_auto_deleveraging_is_noticed_and_the_coins_are_sold(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.decide(1.0)
        before = stage.pair().spot_qty
        stage.exchange.deleverage(KEY, "BTC", D("0.5"))
        await stage.engine.reconcile()
        assert abs(stage.pair().delta_base) <= D("0.001")
        assert stage.pair().spot_qty < before * D("0.52")
        assert stage.pair().blocked is not None
        stage.require_exact()

    play(scenario)


@pytest.mark.pitfall("P14")
def test_a_foreign_trade_in_the_middle_of_our_own_is_noticed_with_it(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        submit, foreign = stage.venue.submit, list[Any]()

        async def interrupted(*args: Any) -> Any:
            report = await submit(*args)
            if not foreign:
                foreign.append(stage.exchange.foreign_order(KEY, "perp", "BTC", "sell", D("0.05")))
            return report

        stage.venue.submit = interrupted
        outcome = await stage.decide(1.0)
        assert abs(outcome.delta_base) <= D("0.001")
        assert stage.pair().blocked is not None
        stage.require_exact()

    play(scenario)


@pytest.mark.pitfall("P12")
def test_coins_that_no_trade_explains_halt_the_pair(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.decide(1.0)
        stage.journal.record_fills([])
        told = stage.venue.balances

        async def without_coins() -> Any:
            balances = await told()
            balances.spot["BTC"] -= D("0.05")
            return balances

        stage.venue.balances = without_coins
        found = await stage.engine.reconcile()
        assert [difference.ticker for difference in found.differences] == ["BTC"]
        assert stage.pair().state is State.HALTED
        assert any("no trade explains it" in words for words in stage.calls)

    play(scenario)


def test_money_that_comes_or_goes_is_told_once_and_halts_nothing(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        told = stage.venue.balances

        async def richer() -> Any:
            balances = await told()
            balances.spot["USDT"] += 100
            return balances

        stage.venue.balances = richer  # type: ignore[method-assign]
        for _ in range(2):
            found = await stage.engine.reconcile()
            assert [difference.ticker for difference in found.differences] == [None]
        assert len(stage.alerts) == 1
        assert (await stage.decide(1.0)).state is State.IDLE

    play(scenario)


def test_a_lead_that_is_refused_leaves_nothing_behind(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        for path in (SPOT_ORDER, PERP_ORDER):
            stage.exchange.inject(Fault.REFUSED, times=1, path=path, method="POST")
        outcome = await stage.decide(1.0)
        assert (outcome.state, outcome.delta_base) == (State.IDLE, 0)
        assert stage.pair().spot_qty == 0

    play(scenario)


@pytest.mark.pitfall("P09")
def test_a_hedge_that_is_refused_for_good_has_the_leader_unwound(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        stage.exchange.inject(Fault.REFUSED, times=100, path=PERP_ORDER, method="POST", code=-2019)
        outcome = await stage.decide(1.0)
        assert outcome.state is State.IDLE
        assert abs(stage.pair().spot_qty) <= D("0.001")
        stage.require_exact()

    play(scenario)


@pytest.mark.pitfall("P09")
def test_a_pair_that_can_go_neither_on_nor_back_is_halted_and_a_person_is_called(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        stage.exchange.inject(Fault.PARTIAL_FILL, times=1, path=SPOT_ORDER, method="POST", fraction=0.5)
        send = stage.venue.submit
        sent: list[Any] = []

        async def first_only(order: Any, until_ms: int) -> Any:
            report = await send(order, until_ms)
            if not sent:
                stage.exchange.halt("spot", "BTC", True)
                stage.exchange.halt("perp", "BTC", True)
            sent.append(order)
            return report

        stage.venue.submit = first_only  # type: ignore[method-assign]
        outcome = await stage.decide(1.0)
        assert outcome.state is State.HALTED
        assert any("could not be brought together" in words for words in stage.calls)
        stage.exchange.halt("spot", "BTC", False)
        stage.exchange.halt("perp", "BTC", False)
        assert await stage.engine.resume("BTC", "the market is open again")
        assert abs(stage.pair().delta_base) <= D("0.001")
        stage.require_exact()

    play(scenario, hedge_seconds=2.0, unwind_seconds=4.0)


@pytest.mark.pitfall("P09")
def test_a_close_whose_hedge_is_refused_for_good_turns_the_other_leg_round_once(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.decide(1.0)
        held = stage.pair().perp_qty
        stage.exchange.inject(Fault.REFUSED, times=10_000, path=PERP_ORDER, method="POST", code=-2019)
        for _ in range(2):
            assert (await stage.decide(0.0)).state is State.IDLE
        assert stage.pair().perp_qty == held
        assert abs(stage.pair().delta_base) <= D("0.001")
        spot = [order for order in stage.exchange.orders(KEY) if order.leg == "spot" and order.executed]
        assert len(spot) <= 3
        stage.exchange.clear_faults()
        assert stage.pair().state is State.IDLE
        await stage.decide(0.0)
        assert stage.pair().perp_qty == 0
        stage.require_exact()

    play(scenario, unwind_seconds=5.0, hedge_seconds=2.0)


@pytest.mark.pitfall("P14")
def test_a_small_position_that_a_person_opens_beside_a_residue_of_coins_is_closed_at_once(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.decide(1.0)
        await stage.decide(0.0)
        assert 0 < stage.pair().spot_qty < D("0.001")
        before = len(stage.exchange.orders(KEY))
        stage.exchange.foreign_order(KEY, "perp", "BTC", "buy", D("0.002"))
        await stage.engine.reconcile()
        assert stage.pair().perp_qty == 0
        assert len(stage.exchange.orders(KEY)) == before + 2
        stage.require_exact()

    play(scenario)


def test_coins_too_few_to_sell_are_made_enough(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        stage.exchange.inject(Fault.PARTIAL_FILL, times=1, path=SPOT_ORDER, method="POST", fraction=0.012)
        outcome = await stage.decide(1.0, "ETH")
        assert outcome.state is State.IDLE
        assert abs(outcome.delta_base) <= D("0.001")
        stage.require_exact()

    play(scenario, tickers=("ETH",))


def test_an_engine_that_begins_while_the_venue_does_not_answer_asks_again(
    play: Play, exchange: RunningExchange
) -> None:
    exchange.inject(Fault.SERVER_ERROR, times=2, path="/api/v3/openOrders")
    exchange.inject(Fault.SERVER_ERROR, times=2, path="/api/v3/account")

    async def scenario(stage: Stage) -> None:
        assert abs((await stage.decide(1.0)).delta_base) <= D("0.001")
        assert stage.pair().perp_qty < 0
        stage.require_exact()

    play(scenario)
