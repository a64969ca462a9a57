from collections.abc import Callable
from decimal import Decimal

import pytest

from carryflow.core.errors import ActionError, MarketDataError, SettingsError, UnknownTickerError
from carryflow.execution import follower
from carryflow.execution.intents import Action
from carryflow.execution.limits.kill import Level
from carryflow.execution.limits.risk import Limit
from carryflow.execution.market import Mark
from carryflow.execution.orders import OrderRequest, Side, TimeInForce, Wallet
from carryflow.execution.pair.states import State
from carryflow.execution.settings import LimitSettings
from carryflow.venues.simulated.faults import Fault
from carryflow.venues.simulated.server import RunningExchange
from tests.unit.execution.engine.stage import CAPITAL, KEY, SECRET, Stage

D = Decimal
Play = Callable[..., None]


@pytest.mark.pitfall("P15")
def test_a_pair_is_opened_resized_and_closed_and_the_books_equal_the_statement(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        opened = await stage.decide(1.0)
        assert (opened.action, opened.state) == (Action.OPEN, State.IDLE)
        assert abs(opened.delta_base) <= D("0.001")
        bought = stage.journal.fills()[0]
        assert (bought.leg, bought.fee_asset) == ("spot", "BTC")
        stage.require_exact()
        assert (await stage.decide(0.5)).action is Action.RESIZE
        stage.require_exact()
        closed = await stage.decide(0.0)
        assert closed.action is Action.CLOSE
        assert stage.pair().perp_qty == 0
        assert abs(stage.pair().spot_qty) < D("0.001")
        stage.require_exact()
        assert stage.alerts == []

    play(scenario)


def test_every_fill_is_joined_to_its_decision(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.decide(1.0)
        await stage.decide(0.0)
        for fill in stage.journal.fills():
            assert fill.client_id is not None
            order = stage.journal.order(fill.client_id)
            assert order is not None
            intent = stage.journal.intent(order.intent_id)
            assert intent is not None
            assert stage.journal.decision(intent.decision_id) is not None

    play(scenario)


def test_wallets_are_filled_by_transfers_and_only_once(
    play: Play, exchange_on: Callable[..., RunningExchange]
) -> None:
    exchange = exchange_on()
    exchange.open_account(KEY, SECRET, {"USDT": CAPITAL}, D(0))

    async def scenario(stage: Stage) -> None:
        moved = [(transfer.arrived, transfer.to) for transfer in stage.journal.transfers()]
        assert moved == [(CAPITAL / 2, Wallet.FUTURES)]
        assert D(stage.statement["futures"]) == CAPITAL / 2
        stage.require_exact()

    play(scenario, on=exchange)
    play(scenario, on=exchange)


def test_an_account_with_less_than_the_capital_is_refused(
    play: Play, exchange_on: Callable[..., RunningExchange]
) -> None:
    exchange = exchange_on()
    exchange.open_account(KEY, SECRET, {"USDT": D(5_000)}, D(5_000))

    async def scenario(_: Stage) -> None: ...

    with pytest.raises(SettingsError, match="has 10000 USDT in both wallets"):
        play(scenario, on=exchange)


def test_an_account_with_a_position_that_nobody_here_bought_is_refused(
    play: Play, exchange: RunningExchange
) -> None:
    exchange.foreign_order(KEY, "perp", "BTC", "sell", D("0.1"))

    async def scenario(_: Stage) -> None: ...

    with pytest.raises(SettingsError, match=r"holds -0\.1\d* of the BTC perpetual"):
        play(scenario)


def test_a_decision_that_is_near_enough_or_expired_or_of_another_coin_is_not_acted_on(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.decide(1.0)
        assert (await stage.decide(0.9)).action is None
        late = await stage.decide(0.0, valid_ms=0)
        assert (late.action, late.breaches[0].limit) == (None, Limit.EXPIRED)
        with pytest.raises(UnknownTickerError, match="DOGE is not traded here"):
            await stage.decide(1.0, "DOGE")

    play(scenario)


def test_a_decision_to_sell_spot_short_closes_the_pair_and_says_so(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.decide(1.0)
        outcome = await stage.decide(-1.0)
        assert outcome.action is Action.CLOSE
        assert "spot is not sold short" in outcome.words
        assert stage.pair().perp_qty == 0

    play(scenario)


def test_a_decision_that_no_price_fits_is_written_down_and_not_followed(
    play: Play, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_tick(*_: object) -> None:
        raise MarketDataError("no price lies on the tick")

    async def scenario(stage: Stage) -> None:
        monkeypatch.setattr(follower, "plan", no_tick)
        outcome = await stage.decide(1.0)
        assert (outcome.action, outcome.words) == (None, "no price lies on the tick")
        assert len(stage.journal.decisions()) == 1
        assert stage.journal.intents() == []

    play(scenario)


@pytest.mark.parametrize("fraction", [float("nan"), float("inf"), 1.5, -1.01])
def test_what_is_no_fraction_of_the_capital_is_an_error_and_no_trade(play: Play, fraction: float) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.decide(1.0)
        held = stage.pair().perp_qty
        with pytest.raises(ActionError, match="no fraction from -1 to 1"):
            await stage.decide(fraction)
        assert stage.pair().perp_qty == held

    play(scenario)


@pytest.mark.pitfall("P10")
def test_replaying_a_close_never_flips_the_position(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.decide(1.0)
        close = stage.decision(0.0)
        for _ in range(3):
            await stage.engine.apply(close)
        assert stage.pair().perp_qty == 0
        sent = [order for order in stage.journal.orders() if order.request.leg == "perp"]
        assert all(order.request.reduce_only for order in sent if order.request.side == "buy")
        assert len([order for order in sent if order.request.side == "buy"]) == 1
        stage.require_exact()

    play(scenario)


@pytest.mark.pitfall("P06")
def test_a_pair_whose_perpetual_is_far_from_spot_is_opened_and_closed(
    play: Play, exchange_on: Callable[..., RunningExchange]
) -> None:
    exchange = exchange_on(basis=-0.2)
    exchange.open_account(KEY, SECRET, {"USDT": CAPITAL}, CAPITAL)

    async def scenario(stage: Stage) -> None:
        assert (await stage.decide(0.8)).action is Action.OPEN
        assert stage.pair().perp_qty < D("-0.1")
        assert (await stage.decide(0.0)).action is Action.CLOSE
        assert stage.pair().perp_qty == 0
        assert stage.alerts == []
        stage.require_exact()

    play(scenario, on=exchange)


def test_a_leader_that_may_rest_rests_and_what_it_does_not_get_is_crossed_for(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        outcome = await stage.decide(1.0)
        assert outcome.action is Action.OPEN
        assert abs(outcome.delta_base) <= D("0.001")
        first, *others = stage.journal.orders()
        assert first.request.time_in_force == "PO"
        assert others
        assert stage.pair().notional_quote > 9_000
        stage.require_exact()

    play(scenario, style="maker_first", maker_wait_seconds=5.0)


def test_the_switch_pauses_reduces_and_flattens(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.decide(0.5)
        stage.kill.set(Level.PAUSE, "lunch", "a person", 0)
        assert (await stage.decide(0.0)).breaches[0].limit is Limit.KILL_SWITCH
        stage.kill.set(Level.REDUCE, "storm", "a person", 0)
        assert (await stage.decide(1.0)).breaches[0].limit is Limit.KILL_SWITCH
        assert (await stage.decide(0.2)).action is Action.RESIZE
        stage.kill.set(Level.FLATTEN, "fire", "a person", 0)
        await stage.engine.watch()
        assert stage.pair().perp_qty == 0
        assert any("fire" in alert.words for alert in stage.alerts)
        stage.kill.clear()
        assert (await stage.decide(1.0)).action is Action.OPEN

    play(scenario)


def test_a_switch_that_is_thrown_while_the_markets_are_looked_at_counts(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.decide(0.5)
        look = stage.view.mark

        async def thrown(ticker: str) -> Mark:
            stage.kill.set(Level.PAUSE, "lunch", "a person", 0)
            mark: Mark = await look(ticker)
            return mark

        stage.view.mark = thrown
        outcome = await stage.decide(0.0)
        assert (outcome.action, outcome.words) == (None, "the kill switch is at pause")

    play(scenario)


def test_flatten_closes_everything_and_cancels_what_rests(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.decide(1.0, "BTC")
        await stage.decide(1.0, "ETH")
        for leg, price in (("spot", "40000"), ("perp", "40000")):
            by_hand = OrderRequest(
                f"web-{leg}", leg, "BTC", Side.BUY, D("0.01"), D(price), TimeInForce.POST_ONLY
            )
            await stage.venue.submit(by_hand, stage.clock.now_ms() + 3_000)
        assert stage.statement["open_orders"] == 2
        outcomes = await stage.engine.flatten("enough")
        assert {ticker: outcome.action for ticker, outcome in outcomes.items()} == {
            "BTC": Action.CLOSE,
            "ETH": Action.CLOSE,
        }
        assert stage.statement["positions"] == {}
        assert stage.statement["open_orders"] == 0
        stage.require_exact()

    play(scenario, tickers=("BTC", "ETH"))


@pytest.mark.pitfall("P20")
def test_a_coin_that_is_not_worth_its_dollar_blocks_what_opens_and_not_what_closes(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.decide(0.5)
        stage.exchange.set_quote_price("0.97")
        await stage.engine.watch()
        outcome = await stage.decide(1.0)
        assert (outcome.action, outcome.breaches[0].limit) == (None, Limit.DEPEG)
        assert (await stage.decide(0.0)).action is Action.CLOSE

    play(scenario)


@pytest.mark.pitfall("P20")
def test_a_skewed_clock_blocks_what_opens_and_calls_a_person_once(play: Play) -> None:
    async def scenario(stage: Stage) -> None:
        stage.clock.ahead_ms = 700
        await stage.engine.watch()
        await stage.engine.watch()
        assert (await stage.decide(1.0)).breaches[0].limit is Limit.CLOCK_SKEW
        assert [words for words in stage.calls if "-699 ms" in words] == stage.calls
        assert len(stage.calls) == 1
        stage.clock.ahead_ms = 0
        await stage.engine.watch()
        assert (await stage.decide(1.0)).action is Action.OPEN

    play(scenario)


def test_a_day_that_lost_too_much_is_over(play: Play, exchange_on: Callable[..., RunningExchange]) -> None:
    exchange = exchange_on([1.0] * 30 + [1.0] * 60)
    exchange.open_account(KEY, SECRET, {"USDT": CAPITAL}, CAPITAL)

    async def scenario(stage: Stage) -> None:
        await stage.decide(1.0)
        await stage.engine.watch()
        assert stage.pair().perp_qty == 0
        assert any("the day lost" in words for words in stage.calls)
        assert (await stage.decide(1.0)).breaches[0].limit is Limit.DAILY_LOSS

    play(scenario, on=exchange, limits=LimitSettings(max_daily_loss=0.0005, max_feed_age_seconds=3_600.0))


def test_a_venue_that_does_not_tell_what_there_is_gets_no_more_risk_and_gives_back_what_there_is(
    play: Play,
) -> None:
    async def scenario(stage: Stage) -> None:
        await stage.decide(0.7)
        stage.exchange.step(600_000)
        stage.exchange.inject(Fault.SERVER_ERROR, times=1_000, path="/sapi/v1/asset/transfer", method="GET")
        outcome = await stage.decide(1.0)
        assert (outcome.action, [breach.limit for breach in outcome.breaches]) == (None, [Limit.OUT_OF_DATE])
        assert "does not tell what there is" in outcome.words
        assert (await stage.decide(0.3)).action is Action.RESIZE
        assert stage.pair().notional_quote < 4_000
        stage.exchange.clear_faults()
        assert (await stage.decide(1.0)).action is Action.RESIZE

    play(scenario)
