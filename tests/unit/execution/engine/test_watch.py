"""Margin that runs short, transfers that fail, and an engine that is left to run."""

import asyncio
from collections.abc import AsyncIterator, Callable
from decimal import Decimal

import pytest

from carryflow.core.errors import InvariantBroken
from carryflow.execution.intents import Decision
from carryflow.execution.orders import Wallet
from carryflow.execution.outcome import Outcome
from carryflow.execution.pair.states import State
from carryflow.execution.settings import LimitSettings
from carryflow.venues.simulated.faults import Fault
from carryflow.venues.simulated.server import RunningExchange
from tests.unit.execution.engine.stage import CAPITAL, KEY, MINUTE_MS, SECRET, Stage

D = Decimal
Play = Callable[..., None]
RALLY = [1.0] * 31 + [1.0 + 0.03 * minute for minute in range(1, 11)] + [1.3] * 60
"""Thirty percent up in ten minutes."""

TRANSFER = "/sapi/v1/asset/transfer"
LOOSE = LimitSettings(max_leverage=10.0, max_feed_age_seconds=3_600.0)


@pytest.fixture
def rally(exchange_on: Callable[..., RunningExchange]) -> RunningExchange:
    exchange = exchange_on(RALLY)
    exchange.open_account(KEY, SECRET, {"USDT": CAPITAL * D("0.75")}, CAPITAL / 4)
    return exchange


async def live_through(stage: Stage) -> None:
    """Let the rally pass, looking every few seconds."""
    for _ in range(11 * 6):
        stage.exchange.step(MINUTE_MS // 6)
        await stage.engine.watch()
    await stage.engine.reconcile()


def money(stage: Stage) -> Decimal:
    """Return all cash that there is in both wallets (quote)."""
    return D(stage.statement["spot"]["USDT"]["free"]) + D(stage.statement["futures"])


def require_alive(stage: Stage) -> None:
    assert all(order.client_id.startswith("cf-") for order in stage.exchange.orders(KEY))
    assert stage.pair().state is State.IDLE
    assert stage.pair().perp_qty < 0
    assert abs(stage.pair().delta_base) <= D("0.001")
    assert stage.pair().margin_distance >= 0.15
    stage.require_exact()


@pytest.mark.pitfall("P13")
def test_a_short_that_the_market_runs_over_is_topped_up_from_spot_cash(
    play: Play, rally: RunningExchange
) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.decide(0.7)
        held = stage.pair().perp_qty
        await live_through(stage)
        moved = [transfer for transfer in stage.journal.transfers() if transfer.ticker == "BTC"]
        assert moved
        assert all(transfer.to is Wallet.FUTURES for transfer in moved)
        assert stage.pair().perp_qty == held
        require_alive(stage)

    play(scenario, on=rally, spot_share=0.75, limits=LOOSE)


@pytest.mark.pitfall("P13")
def test_a_short_without_cash_to_help_it_is_made_smaller_before_it_is_liquidated(
    play: Play, rally: RunningExchange
) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.decide(1.0)
        held = stage.pair().perp_qty
        await live_through(stage)
        assert held < stage.pair().perp_qty
        require_alive(stage)

    play(scenario, on=rally, spot_share=0.75, limits=LOOSE)


@pytest.mark.pitfall("P13")
@pytest.mark.parametrize("fault", [Fault.REFUSED, Fault.RESET, Fault.SERVER_ERROR])
def test_transfers_that_fail_lose_nothing_and_the_position_shrinks_instead(
    play: Play, rally: RunningExchange, fault: Fault
) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.decide(0.7)
        before, held = money(stage), stage.pair().perp_qty
        stage.exchange.inject(fault, times=10_000, path=TRANSFER, method="POST")
        await live_through(stage)
        assert money(stage) >= before
        stage.exchange.clear_faults()
        await stage.engine.reconcile()
        assert held < stage.pair().perp_qty
        require_alive(stage)

    play(scenario, on=rally, spot_share=0.75, limits=LOOSE)


@pytest.mark.pitfall("P13")
def test_a_transfer_whose_answer_is_lost_is_found_and_not_sent_again(
    play: Play, rally: RunningExchange
) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.decide(0.7)
        stage.exchange.inject(Fault.LOST_ANSWER, times=10_000, path=TRANSFER, method="POST")
        await live_through(stage)
        there = stage.exchange.transfers(KEY)
        assert there
        assert len(there) == len(stage.journal.transfers())
        assert stage.journal.transfers(unsettled=True) == []
        require_alive(stage)

    play(scenario, on=rally, spot_share=0.75, limits=LOOSE)


def test_what_a_person_moves_between_the_wallets_is_noticed_and_is_no_profit(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        equity = stage.engine.books.equity
        await stage.venue.transfer(D(100), Wallet.FUTURES)
        found = await stage.engine.reconcile()
        assert found.differences == ()
        assert stage.engine.books.equity == pytest.approx(equity)
        assert any("not ours: 100" in alert.words for alert in stage.alerts)
        stage.require_exact()

    play(scenario)


def test_cash_goes_back_to_where_the_next_position_needs_it(play: Play, rally: RunningExchange) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.decide(0.7)
        await live_through(stage)
        await stage.decide(0.0)
        await stage.engine.watch()
        account = stage.engine.books.pairs["BTC"]
        assert float(account.spot_cash) == pytest.approx(account.equity * 0.75, rel=1e-4)
        stage.require_exact()

    play(scenario, on=rally, spot_share=0.75, limits=LOOSE)


def test_an_engine_that_runs_follows_all_coins_arms_the_dead_man_and_ends_in_order(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        stop = asyncio.Event()

        async def decisions() -> AsyncIterator[Decision]:
            for fraction in (1.0, 0.0, 1.0):
                yield stage.decision(fraction, "BTC")
                yield stage.decision(fraction, "ETH")
                await stage.clock.sleep(10)
            stop.set()
            await asyncio.Event().wait()

        await asyncio.wait_for(stage.engine.run(decisions(), stop), timeout=30)
        assert [pair.state for pair in stage.engine.status().pairs] == [State.IDLE, State.IDLE]
        assert all(pair.perp_qty < 0 for pair in stage.engine.status().pairs)
        assert stage.exchange.requests["/fapi/v1/countdownCancelAll"] >= 4
        assert len(stage.journal.decisions()) == 6
        stage.require_exact()

    play(scenario, tickers=("BTC", "ETH"))


def test_an_engine_whose_books_break_stops_and_calls_a_person(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        async def broken(_: Decision) -> Outcome:
            raise InvariantBroken("nothing adds up")

        async def decisions() -> AsyncIterator[Decision]:
            yield stage.decision(1.0)
            await asyncio.Event().wait()

        stage.engine.apply = broken  # type: ignore[method-assign]
        with pytest.raises(InvariantBroken, match="nothing adds up"):
            await asyncio.wait_for(stage.engine.run(decisions(), asyncio.Event()), timeout=30)
        assert any("the engine stops" in words for words in stage.calls)

    play(scenario)
