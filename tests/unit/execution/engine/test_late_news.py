"""What a venue lists late, tells twice, or takes in a coin that nobody keeps."""

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import replace
from decimal import Decimal
from typing import Any

import pytest

from carryflow.core.errors import InvariantBroken
from carryflow.execution.intents import client_order_id
from carryflow.execution.journal.records import OrderRecord, Purpose
from carryflow.execution.orders import OrderReport, OrderRequest, Side, TimeInForce, Wallet
from carryflow.execution.pair.states import State
from carryflow.venues.simulated.faults import Fault
from carryflow.venues.simulated.server import RunningExchange
from tests.unit.execution.engine.stage import CAPITAL, KEY, MINUTE_MS, SECRET, Stage

D = Decimal
Play = Callable[..., None]


def lists_late(stage: Stage, late_ms: int, *names: str) -> None:
    """Let the venue leave out of its lists what has happened in the last so many milliseconds."""
    for name in names:
        listed = getattr(stage.venue, name)

        def ask(*asked: Any, listed: Callable[..., Awaitable[Sequence[Any]]] = listed) -> Awaitable[Any]:
            async def answer() -> list[Any]:
                return [one for one in await listed(*asked) if one.ts_ms <= stage.clock.now_ms() - late_ms]

            return answer()

        setattr(stage.venue, name, ask)


def tells_no_trades(stage: Stage) -> None:
    """Let the venue tell how much of an order is filled, and not by which trades."""
    stage.venue.submit = _told(stage.venue.submit, lambda report: replace(report, fills=()))
    stage.venue.find = _told(stage.venue.find, lambda report: replace(report, fills=()))


def _told(
    ask: Callable[..., Awaitable[OrderReport | None]], change: Callable[[OrderReport], OrderReport]
) -> Any:
    async def answer(*asked: Any) -> OrderReport | None:
        report = await ask(*asked)
        return None if report is None else change(report)

    return answer


async def minutes(stage: Stage, count: int) -> list[Any]:
    """Reconcile once a minute."""
    found = []
    for _ in range(count):
        await stage.clock.sleep(60)
        found.append(await stage.engine.reconcile())
    return found


@pytest.mark.pitfall("P14")
@pytest.mark.parametrize("late_ms", [5_000, 4 * MINUTE_MS])
def test_a_deleveraging_that_is_listed_late_halts_the_pair_until_it_is_and_leaves_no_leg_alone(
    play: Play, late_ms: int
) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.decide(1.0)
        await minutes(stage, 1)
        lists_late(stage, late_ms, "fills")
        stage.exchange.deleverage(KEY, "BTC", D(1))
        assert (await stage.engine.reconcile()).differences
        assert stage.pair().state is State.HALTED
        await minutes(stage, 1 if late_ms < MINUTE_MS else 8)
        assert stage.pair().state is State.IDLE
        assert abs(stage.pair().delta_base) <= D("0.001")
        assert stage.pair().blocked is not None
        stage.require_exact()

    play(scenario)


@pytest.mark.pitfall("P14")
def test_a_pair_that_went_astray_is_brought_together_by_the_next_engine_too(play: Play) -> None:
    async def astray(stage: Stage) -> None:
        await stage.decide(1.0)
        await minutes(stage, 1)
        lists_late(stage, MINUTE_MS, "fills")
        stage.exchange.deleverage(KEY, "BTC", D(1))
        await stage.engine.reconcile()
        assert stage.pair().state is State.HALTED

    async def after(stage: Stage) -> None:
        assert stage.pair().state is State.IDLE
        assert abs(stage.pair().delta_base) <= D("0.001")
        assert stage.pair().blocked is not None

    play(astray)
    play(after)


@pytest.mark.pitfall("P12")
def test_trades_that_are_listed_minutes_late_are_booked_and_a_person_is_told_meanwhile(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        tells_no_trades(stage)
        lists_late(stage, 5 * MINUTE_MS, "fills")
        await stage.decide(1.0)
        found = await minutes(stage, 4)
        assert found[0].differences == ()  # what the trades cost is not known yet
        assert [one.what for one in found[-1].differences] == [
            "USDT in the spot wallet",
            "USDT in the futures wallet",
        ]
        assert sum("stands in no books yet" in alert.words for alert in stage.alerts) == 2
        assert (await minutes(stage, 3))[-1].differences == ()
        assert not stage.journal.orders(unfinished=True)
        stage.require_exact()

    play(scenario)


@pytest.mark.pitfall("P12")
def test_a_transfer_that_is_listed_an_hour_late_is_found_since_the_books_agreed(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        await minutes(stage, 1)
        agreed_ms = stage.clock.now_ms()
        moved = stage.venue.transfer
        lists_late(stage, 60 * MINUTE_MS, "transfers")
        await moved(D(100), Wallet.FUTURES)
        assert len((await minutes(stage, 1))[0].differences) == 2
        await minutes(stage, 30)
        last = stage.journal.last_statement()
        assert last is not None
        assert last.agreed_ms is not None
        assert abs(last.agreed_ms - agreed_ms) <= MINUTE_MS
        assert (await minutes(stage, 70))[-1].differences == ()
        stage.require_exact()

    play(scenario)


@pytest.mark.pitfall("P09")
def test_a_fee_in_a_third_coin_blocks_the_pair_and_the_books_go_on(play: Play) -> None:
    def in_another_coin(report: OrderReport) -> OrderReport:
        fills = tuple(replace(fill, fee=D("0.0021"), fee_asset="BNB") for fill in report.fills)
        return replace(report, fills=fills)

    async def scenario(stage: Stage) -> None:
        listed = stage.venue.fills

        async def fills(*asked: Any) -> list[Any]:
            return [replace(fill, fee=D("0.0021"), fee_asset="BNB") for fill in await listed(*asked)]

        stage.venue.submit = _told(stage.venue.submit, in_another_coin)
        stage.venue.find = _told(stage.venue.find, in_another_coin)
        stage.venue.fills = fills
        outcome = await stage.decide(1.0)
        assert (outcome.state, abs(outcome.delta_base) <= D("0.001")) == (State.IDLE, True)
        assert any("BNB was paid" in words for words in stage.calls)
        blocked = stage.pair().blocked
        assert blocked is not None
        assert blocked.startswith("a fee of 0.00")
        assert stage.engine.books.parts["fees"] == 0.0

    async def after(stage: Stage) -> None:
        assert stage.pair().notional_quote > 0
        assert stage.pair().blocked is not None

    play(scenario)
    play(after)


@pytest.mark.pitfall("P13")
def test_a_first_transfer_that_is_refused_is_made_by_the_next_reconciliation(
    play: Play, exchange_on: Callable[..., RunningExchange]
) -> None:
    running = exchange_on()
    running.open_account(KEY, SECRET, {"USDT": CAPITAL}, D(0))
    running.inject(
        Fault.REFUSED, times=3, path="/sapi/v1/asset/transfer", method="POST", code=-5013, words="not now"
    )

    async def scenario(stage: Stage) -> None:
        assert D(stage.statement["futures"]) == 0
        outcome = await stage.decide(1.0)
        assert outcome.action is None
        assert outcome.breaches  # what the books were given is not there to trade on
        await minutes(stage, 2)
        assert D(stage.statement["futures"]) == CAPITAL / 2
        assert sum("did not move" in alert.words for alert in stage.alerts) == 1
        assert (await stage.decide(1.0)).action is not None
        assert stage.pair().notional_quote > 9_000

    play(scenario, running)


@pytest.mark.pitfall("P10")
def test_an_order_of_ours_that_is_open_and_should_not_be_is_cancelled(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        now_ms = stage.clock.now_ms()
        name = client_order_id("00ff00ff00ff00ff", "spot", 0)
        request = OrderRequest(name, "spot", "BTC", Side.BUY, D("0.01"), D(49_000), TimeInForce.GTC)
        record = OrderRecord(request, "00ff00ff00ff00ff", 0, Purpose.LEAD, D(50_000), now_ms + 5_000, now_ms)
        stage.journal.record_orders([record])
        stage.journal.record_lost(name, now_ms)
        await stage.venue.submit(request, now_ms + 5_000)
        found = await stage.engine.reconcile()
        assert found.strangers == (name,)
        assert await stage.venue.open_orders() == []
        assert any("cancelled" in words for words in stage.calls)
        assert (await stage.engine.reconcile()).strangers == ()

    play(scenario)


@pytest.mark.pitfall("P10")
def test_more_of_an_order_than_was_ordered_blocks_the_pair(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        listed = stage.venue.fills
        doubled: list[Any] = []

        async def fills(leg: Any, *asked: Any) -> list[Any]:
            told = list(await listed(leg, *asked))
            if leg == "spot" and told and not doubled:
                doubled.append(replace(told[0], trade_id="again", client_id=None))
            return told + [fill for fill in doubled if leg == "spot"]

        await stage.decide(1.0)
        stage.venue.fills = fills
        await stage.engine.reconcile()
        assert any(words.startswith("filled twice") for words in stage.calls)
        blocked = stage.pair().blocked
        assert blocked is not None
        assert blocked.startswith("filled twice")

    play(scenario)


@pytest.mark.pitfall("P12")
def test_a_reconciliation_that_fails_for_one_coin_has_seen_the_others_to_their_end(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        asked = []
        listed = stage.venue.fills

        async def fills(leg: Any, ticker: str, since_ms: int) -> Any:
            if ticker == "BTC":
                raise InvariantBroken("the books of BTC do not add up")
            told = await listed(leg, ticker, since_ms)
            await asyncio.sleep(0.02)
            asked.append((leg, ticker))
            return told

        stage.venue.fills = fills
        with pytest.raises(InvariantBroken, match="of BTC"):
            await stage.engine.reconcile()
        assert sorted(asked) == [("perp", "ETH"), ("spot", "ETH")]

    play(scenario, tickers=("BTC", "ETH"))
