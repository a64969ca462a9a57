"""The commands over an engine's journal: what they print, what they write, and what they refuse."""

import re
import time
from collections.abc import Callable
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

from carryflow.cli.app import app, console
from carryflow.cli.trading import flatten as flattening
from carryflow.cli.trading.beside import plan_beside, wallets
from carryflow.cli.trading.origin import Origin
from carryflow.cli.trading.place import Place
from carryflow.core.errors import CarryflowError, RegistryError, RetryableError, SettingsError
from carryflow.execution.books import Books
from carryflow.execution.intents import Action, Decision, Intent, client_order_id
from carryflow.execution.journal.journal import Journal
from carryflow.execution.journal.reading import JournalReader
from carryflow.execution.journal.records import (
    Alert,
    Identity,
    Mode,
    Opening,
    OrderRecord,
    PairRecord,
    Purpose,
    Severity,
    Statement,
    Valuation,
)
from carryflow.execution.limits.kill import KillSwitch, Level
from carryflow.execution.orders import (
    Balances,
    Fill,
    FundingPayment,
    OrderReport,
    OrderRequest,
    OrderStatus,
    Side,
    TimeInForce,
)
from carryflow.settings import resolve

HOUR_MS = 3_600_000
OPENED_MS = 1_751_371_200_000  # 2025-07-01 12:00 UTC
DECISION = "d1" * 8
INTENT = "a1" * 8
NAME = client_order_id(INTENT, "spot", 0)

Command = Callable[..., str]


@pytest.fixture
def carryflow(tmp_path: Path) -> Command:
    """Run a command in a home of its own and give what it prints; its errors are raised."""

    def run(*arguments: str) -> str:
        with console.capture() as said:
            done = CliRunner().invoke(app, [*arguments, "-o", f"home={tmp_path}"])
        if isinstance(done.exception, CarryflowError):
            raise done.exception
        assert done.exit_code == 0, (done.output, done.exception)
        return said.get()

    return run


def begin(home: Path, mode: Mode = Mode.SANDBOX, venue: str = "simulated") -> Journal:
    """Write down two coins, one of which has bought its spot leg."""
    identity = Identity(mode, venue, "USDT", ("BTC", "ETH"), Decimal(20_000), 0.5, OPENED_MS)
    journal = Journal.open(home / "execution" / mode.value / "journal.db", identity)
    money = {"USDT": Decimal(10_000)}
    half = (Decimal(5_000), Decimal(5_000))
    wallets = Balances(money, money, Decimal(10_000), Decimal(0), Decimal(10_000), OPENED_MS)
    journal.record_opening(Opening(wallets, {"BTC": half, "ETH": half}))
    price = Decimal(100)
    journal.record_decision(
        Decision(DECISION, "BTC", 0.5, OPENED_MS + 1_000, OPENED_MS + 9_000, "champion f00", "gate carry 90%")
    )
    intent = Intent(INTENT, DECISION, "BTC", Action.OPEN, Decimal(25), price, price, price, OPENED_MS + 2_000)
    request = OrderRequest(NAME, "spot", "BTC", Side.BUY, Decimal(25), price, TimeInForce.IOC)
    order = OrderRecord(request, INTENT, 0, Purpose.LEAD, price, OPENED_MS + 6_000, OPENED_MS + 3_000)
    journal.record_intent(intent, PairRecord("BTC", "leading", INTENT), [order])
    fill = Fill(
        "7", NAME, "70", "spot", "BTC", Side.BUY, Decimal(25), price, Decimal("2.5"), "USDT", False,
        OPENED_MS + 4_000,
    )  # fmt: skip
    journal.record_report(
        OrderReport(
            NAME, "70", "spot", "BTC", Side.BUY, Decimal(25), Decimal(25), OrderStatus.FILLED,
            OPENED_MS + 4_000, (fill,),
        ),
        OPENED_MS + 4_000,
        pair=PairRecord("BTC", "halted", INTENT, "the hedge found no book"),
    )  # fmt: skip
    journal.record_funding([FundingPayment("1", "BTC", Decimal("1.25"), OPENED_MS + 5_000)])
    journal.record_alert(
        Alert(OPENED_MS + 6_000, Severity.CRITICAL, "BTC", "25 coins have no hedge; look at the venue")
    )
    journal.record_statement(
        Statement(OPENED_MS + 7_000, wallets, (), Decimal(20_000)),
        [Valuation(OPENED_MS + 7_000, name, Decimal(102), price, price) for name in ("BTC", "ETH")],
    )
    return journal


@pytest.fixture
def home(tmp_path: Path) -> Path:
    begin(tmp_path).close()
    return tmp_path


def test_status_says_what_stands_and_what_a_person_must_see(carryflow: Command, home: Path) -> None:
    said = carryflow("status")
    assert "sandbox at simulated: BTC, ETH with 20,000 USDT; no engine is running" in said
    assert "equity 20,048.75 USDT (+48.75: funding +1.25, basis +50.00, fees -2.50)" in said
    assert "halted" in said
    assert "the hedge found no book" in said
    assert "2025-07-01 12:00:06 critical BTC: 25 coins have no hedge; look at the venue" in said
    assert "kill switch" not in said


def test_status_works_while_an_engine_holds_the_journal(carryflow: Command, tmp_path: Path) -> None:
    with begin(tmp_path):
        assert "an engine is running" in carryflow("status")
    assert "no engine is running" in carryflow("status")


def test_positions_are_those_of_the_books(carryflow: Command, home: Path) -> None:
    rows = {line.split()[0]: line.split()[1:] for line in carryflow("positions").splitlines() if line.strip()}
    assert rows["BTC"][:7] == ["25", "0", "25", "102", "+50.75%", "10,048.75", "+48.75"]
    assert rows["ETH"][:7] == ["0", "0", "0", "102", "0", "10,000.00", "0"]
    assert rows["all"][:2] == ["20,048.75", "+48.75"]


def test_the_journal_tells_everything_in_order_and_a_decision_what_came_of_it(
    carryflow: Command, home: Path
) -> None:
    told = carryflow("journal")
    order = ["decision", "intent", "order", "fill", "funding", "critical"]
    assert [next(line for line in told.splitlines() if f" {what} " in line) for what in order] == [
        line for line in told.splitlines() if line.strip().startswith("2025-07-01")
    ]
    traced = carryflow("journal", "--decision", DECISION[:6])
    assert DECISION in traced
    assert NAME in traced
    assert "funding" not in traced


def test_a_decision_that_nobody_made_is_refused(carryflow: Command, home: Path) -> None:
    with pytest.raises(SettingsError, match="names 0 decisions"):
        carryflow("journal", "--decision", "ffff")


def test_only_the_newest_entries_are_printed_and_the_rest_is_counted(carryflow: Command, home: Path) -> None:
    told = carryflow("journal", "--last", "2")
    assert "the newest 2 of 6 entries" in told
    assert "decision" not in told.split("entries", 2)[2]


def test_the_mode_that_ran_last_is_meant_unless_one_is_named(carryflow: Command, home: Path) -> None:
    begin(home, Mode.PAPER).close()
    assert carryflow("status").startswith("paper at simulated")
    assert carryflow("status", "--mode", "sandbox").startswith("sandbox at simulated")
    with pytest.raises(SettingsError, match="no engine has run in mode live"):
        carryflow("status", "--mode", "live")


def test_halt_writes_the_switch_and_resume_lifts_it(carryflow: Command, home: Path) -> None:
    switch = KillSwitch(Place(Mode.SANDBOX, home / "execution" / "sandbox").kill)
    assert "sandbox: pause: decisions are not acted on any more" in carryflow("halt")
    assert switch.level() is Level.PAUSE
    assert "flatten: everything is closed" in carryflow("halt", "--level", "flatten", "--reason", "a fire")
    assert "flatten (asked before, by person: a fire; it is never made less)" in carryflow("halt")
    assert "kill switch: flatten since" in carryflow("status")
    assert "the kill switch was flatten (a fire); it is off" in carryflow("resume")
    assert switch.level() is Level.RUN


def test_halt_needs_neither_engine_nor_journal_where_the_mode_is_named(
    carryflow: Command, tmp_path: Path
) -> None:
    carryflow("halt", "--mode", "live", "--level", "reduce")
    assert KillSwitch(tmp_path / "execution" / "live" / "kill.json").level() is Level.REDUCE
    assert carryflow("resume").startswith("live: the kill switch was reduce")


def test_halt_in_a_home_without_an_engine_says_so_and_writes_nothing(
    carryflow: Command, tmp_path: Path
) -> None:
    for command in ("halt", "resume"):
        with pytest.raises(SettingsError, match="nothing to stop"):
            carryflow(command)
    assert list(tmp_path.iterdir()) == []


def test_a_person_asks_the_engine_to_trade_a_coin_again(carryflow: Command, home: Path) -> None:
    assert "the next engine that starts here is asked to trade BTC again" in carryflow(
        "resume", "BTC", "--reason", "sold by hand"
    )
    place = Place(Mode.SANDBOX, home / "execution" / "sandbox")
    (request,) = place.requests()
    assert (request.ticker, request.reason) == ("BTC", "sold by hand")
    request.file.write_text("{")
    assert place.requests() == []
    assert not request.file.exists()
    assert "ETH is not blocked" in carryflow("resume", "ETH")
    assert place.requests() == []
    with pytest.raises(SettingsError, match="DOGE is none of the coins that are traded here: BTC, ETH"):
        carryflow("resume", "DOGE")


def test_flatten_folds_the_books_anew_only_when_the_running_engine_has_written(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    place, folds, looks = Place(Mode.SANDBOX, tmp_path / "execution" / "sandbox"), [], []

    def pause(_: float) -> None:
        looks.append(len(folds))
        if len(looks) == 5:  # the engine sells what it holds
            price = Decimal(100)
            fill = Fill(
                "8", None, "71", "spot", "BTC", Side.SELL, Decimal(25), price, Decimal(0), "USDT", False,
                OPENED_MS + 8_000,
            )  # fmt: skip
            journal.record_fills([fill])
            journal.record_pair(PairRecord("BTC", "idle", None))

    def fold(journal: JournalReader) -> Books:
        folds.append(journal)
        return plain(journal)

    plain = Books.fold
    monkeypatch.setattr(Books, "fold", fold)
    monkeypatch.setattr(flattening, "time", SimpleNamespace(monotonic=time.monotonic, sleep=pause))
    with begin(tmp_path) as journal:
        assert flattening._await_flat(place, patience=60.0) == []
    assert looks == [1] * 5
    assert len(folds) == 2


def test_flatten_does_not_wait_for_an_engine_that_has_ended(home: Path) -> None:
    place = Place(Mode.SANDBOX, home / "execution" / "sandbox")
    assert flattening._await_flat(place, patience=60.0) == ["BTC 25 spot, 0 perpetual", "BTC is halted"]


def test_an_order_without_an_end_and_coins_without_a_price_are_not_closed(tmp_path: Path) -> None:
    place = Place(Mode.SANDBOX, tmp_path / "execution" / "sandbox")
    identity = Identity(Mode.SANDBOX, "simulated", "USDT", ("BTC",), Decimal(1_000), 0.5, OPENED_MS)
    with Journal.open(place.journal, identity) as journal:
        money = {"USDT": Decimal(1_000)}
        wallets = Balances(money, money, Decimal(0), Decimal(0), Decimal(0), OPENED_MS)
        journal.record_opening(Opening(wallets, {"BTC": (Decimal(1_000), Decimal(0))}))
        price, qty = Decimal(100), Decimal("0.01")
        intent = Intent(INTENT, DECISION, "BTC", Action.OPEN, qty, price, price, price, OPENED_MS)
        request = OrderRequest(NAME, "spot", "BTC", Side.BUY, qty, price, TimeInForce.IOC)
        order = OrderRecord(request, INTENT, 0, Purpose.LEAD, price, OPENED_MS + 6_000, OPENED_MS)
        journal.record_intent(intent, PairRecord("BTC", "idle", INTENT), [order])
        assert flattening._open_positions(place) == [f"BTC spot order {NAME} without an end"]
        fill = Fill(
            "7", None, "70", "spot", "BTC", Side.BUY, qty, price, Decimal(0), "USDT", False, OPENED_MS
        )
        journal.record_fills([fill])
        assert flattening._open_positions(place)[0] == "BTC 0.01 spot, 0 perpetual"


def test_flatten_knows_the_address_from_the_journal_and_refuses_another(
    carryflow: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CARRYFLOW_API_KEY", "a")
    monkeypatch.setenv("CARRYFLOW_API_SECRET", "b")
    begin(tmp_path, venue="simulated http://127.0.0.1:9, synthetic-0a").close()
    switch = tmp_path / "execution" / "sandbox" / "kill.json"
    for other in (("--venue", "okx"), ("-o", "venue.url=http://127.0.0.1:10")):
        with pytest.raises(SettingsError, match=r"is of simulated http://127.0.0.1:9, synthetic-0a, not of"):
            carryflow("flatten", *other)
    assert not switch.exists()
    with pytest.raises(RetryableError, match=r"127\.0\.0\.1:9"):
        carryflow("flatten", "-o", "venue.retries=0")
    assert switch.exists()


def test_the_journal_of_an_account_that_still_exists_is_not_put_aside(
    carryflow: Command, tmp_path: Path
) -> None:
    begin(tmp_path, Mode.PAPER, "simulated http://127.0.0.1:9, synthetic-0a").close()
    with pytest.raises(
        SettingsError, match=r"name that with -o venue.url=http://127.0.0.1:9, or another home"
    ):
        carryflow("paper", "--policy", "flat")
    begin(tmp_path, Mode.SANDBOX, "binance").close()
    with pytest.raises(SettingsError, match="name that with --venue binance, or another home"):
        carryflow("trade", "--sandbox", "--policy", "flat")
    assert not list(tmp_path.glob("execution/*/past"))


def test_parity_against_another_tape_is_refused_before_anything_is_fetched(
    carryflow: Command, tmp_path: Path
) -> None:
    begin(tmp_path, venue="simulated, beside, recorded-0a").close()
    with pytest.raises(SettingsError, match="name the tape recorded-0a with --tape"):
        carryflow("parity", "-o", "exchange.synthetic.hours=300")
    assert not (tmp_path / "execution" / "sandbox" / "market").exists()


def test_parity_of_a_real_venue_asks_that_venue() -> None:
    asked = Origin.parse("bybit").settings(resolve())
    assert (asked.venue.name, asked.venue.url) == ("bybit", None)
    with pytest.raises(SettingsError, match="this journal is of bybit, not of okx;"):
        Origin.parse("bybit").settings(resolve(overrides=["venue.name=okx"]))


def test_what_a_person_wrote_is_printed_as_it_is(carryflow: Command, tmp_path: Path) -> None:
    with begin(tmp_path) as journal:
        journal.record_alert(Alert(OPENED_MS + 8_000, Severity.INFO, "BTC", "resumed: [/red] [bold]x"))
        journal.record_pair(PairRecord("BTC", "halted", None, "see [/red]"))
    assert "resumed: [/red] [bold]x" in carryflow("journal")
    said = carryflow("status")
    assert "info BTC: resumed: [/red] [bold]x" in said
    assert "see [/red]" in said


def test_a_journal_is_put_aside_whole(home: Path) -> None:
    place = Place(Mode.SANDBOX, home / "execution" / "sandbox")
    kept = place.put_aside()
    assert kept is not None
    assert not place.journal.exists()
    with Journal.read(kept) as journal:
        assert len(journal.decisions()) == 1
    assert place.put_aside() is None


def test_a_journal_that_an_engine_writes_is_not_put_aside(tmp_path: Path) -> None:
    with begin(tmp_path), pytest.raises(SettingsError, match="another engine writes"):
        Place(Mode.SANDBOX, tmp_path / "execution" / "sandbox").put_aside()


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["trade"], "--sandbox on the venue's test network, or --live real money"),
        (["trade", "--live", "--sandbox"], "--sandbox on the venue's test network, or --live real money"),
        (["trade", "--live", "--venue", "binance"], "execution.live is false"),
        (["trade", "--live", "-o", "execution.live=true"], "the simulated exchange has no real money"),
        (["trade", "--sandbox", "--policy", "best"], "--policy best is none of champion, hedged, flat"),
        (["paper", "-o", "data.timeframe=15m"], "the loop learns on hourly bars"),
        (["paper", "--policy", "flat", "--hours", "9000"], "9000 are too many"),
        (["halt", "--level", "stop"], "--level stop is none of pause, reduce, flatten"),
        (["parity"], "no engine has run"),
        (["flatten"], "no engine has run"),
    ],
)
def test_a_mistake_is_refused_before_anything_is_connected(
    arguments: list[str], words: str, carryflow: Command, tmp_path: Path
) -> None:
    with pytest.raises(SettingsError, match=re.escape(words)):
        carryflow(*arguments)
    assert list(tmp_path.iterdir()) == []


def test_without_a_champion_a_way_out_is_named(carryflow: Command) -> None:
    for command in (["paper"], ["trade", "--sandbox"]):
        with pytest.raises(RegistryError, match=r"has no champion.*--policy hedged"):
            carryflow(*command)


def test_a_sandbox_that_is_named_needs_a_key_from_the_environment(
    carryflow: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CARRYFLOW_API_KEY", raising=False)
    monkeypatch.setenv("CARRYFLOW_API_SECRET", "very secret")
    with pytest.raises(SettingsError, match="CARRYFLOW_API_KEY") as refusal:
        carryflow("trade", "--sandbox", "--policy", "flat", "-o", "venue.url=http://127.0.0.1:9")
    assert "very secret" not in str(refusal.value)


def test_all_that_real_money_lacks_is_named_at_once(
    carryflow: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CARRYFLOW_API_KEY", raising=False)
    with pytest.raises(SettingsError, match=r"execution\.live is false.*CARRYFLOW_API_KEY"):
        carryflow("trade", "--live", "--venue", "binance")


def test_positions_of_an_exchange_that_ended_are_nowhere(carryflow: Command, tmp_path: Path) -> None:
    identity = Identity(
        Mode.SANDBOX, str(Origin("simulated", beside=True)), "USDT", ("BTC",), Decimal(1_000), 0.5, OPENED_MS
    )
    Journal.open(tmp_path / "execution" / "sandbox" / "journal.db", identity).close()
    with pytest.raises(SettingsError, match="nothing is held anywhere"):
        carryflow("flatten")
    assert not (tmp_path / "execution" / "sandbox" / "kill.json").exists()


def test_an_exchange_beside_plays_the_tapes_last_hours_with_the_history_before_them() -> None:
    settings = resolve(overrides=["data.tickers=[BTC]", "exchange.synthetic.hours=480"])
    beside = plan_beside(settings, 24, 300 * HOUR_MS)
    assert beside.tape.end_ms - beside.start_ms == 30 * HOUR_MS
    assert beside.speed == 720.0
    with pytest.raises(SettingsError, match="175 are too many"):
        plan_beside(settings, 175, 300 * HOUR_MS)


def test_an_exchange_beside_starts_where_the_settings_say() -> None:
    start = "2025-01-10T05:30:00Z"
    settings = resolve(
        overrides=[
            "data.tickers=[BTC]",
            "exchange.synthetic.hours=480",
            f"exchange.start={start}",
            "exchange.speed=60",
        ]
    )
    beside = plan_beside(settings, 24, 24 * HOUR_MS)
    assert datetime.fromtimestamp(beside.start_ms / 1000, UTC).isoformat() == "2025-01-10T05:00:00+00:00"
    assert beside.speed == 60.0


def test_the_account_beside_has_the_capital_split_over_both_wallets() -> None:
    settings = resolve(overrides=["execution.capital_quote=1000.01", "execution.spot_share=0.3"])
    assert wallets(settings) == (Decimal("300.00"), Decimal("700.01"))
