"""`carryflow stress`: what it shows, what it writes, and how it refuses."""

import io
import json
import sys
from pathlib import Path

import pytest

from carryflow.cli import main
from carryflow.cli.app import console
from carryflow.market.parquet import write_table
from carryflow.market.synthetic import SyntheticSettings, synthetic_market


@pytest.fixture(autouse=True)
def terminal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> io.StringIO:
    """What a person sees; the command runs in a folder of its own."""
    monkeypatch.chdir(tmp_path)
    screen = io.StringIO()
    monkeypatch.setattr(console, "file", screen)
    return screen


def call(monkeypatch: pytest.MonkeyPatch, *arguments: str) -> int | str | None:
    monkeypatch.setattr(sys, "argv", ["carryflow", "stress", *arguments])
    with pytest.raises(SystemExit) as ending:
        main()
    return ending.value.code


def test_the_list_names_parameters_with_units_and_sources(
    monkeypatch: pytest.MonkeyPatch, terminal: io.StringIO
) -> None:
    assert call(monkeypatch, "--list", "-s", "squeeze", "-s", "flash_crash", "-p", "squeeze.size=0.4") == 0
    said = terminal.getvalue()
    for words in ("squeeze.size", "0.4", "fraction of the price before", "SOL, Binance", "flash_crash.depth"):
        assert words in said
    assert "venue_halt" not in said
    assert not Path("stress").exists()


def test_a_run_prints_a_verdict_for_each_policy_and_leaves_json_and_page(
    monkeypatch: pytest.MonkeyPatch, terminal: io.StringIO
) -> None:
    arguments = (
        "-s",
        "squeeze",
        "-p",
        "squeeze.size=0.5",
        "--policy",
        "always_hedged_5x",
        "--policy",
        "flat",
    )
    assert call(monkeypatch, *arguments, "--tickers", "BTC") == 0
    said = terminal.getvalue()
    assert "always_hedged_5x" in said
    assert "threshold_carry" not in said
    (written,) = json.loads(Path("stress/stress.json").read_text())["outcomes"]
    assert (written["ticker"], written["parameters"]["size"]) == ("BTC", 0.5)
    assert [verdict["liquidated"] for verdict in written["verdicts"]] == [True, False]
    assert "Squeeze" in Path("stress/stress.html").read_text()


@pytest.mark.parametrize(("width", "parts"), [(80, False), (119, False), (120, True)])
def test_the_table_of_verdicts_fits_the_terminal(
    width: int, parts: bool, monkeypatch: pytest.MonkeyPatch, terminal: io.StringIO
) -> None:
    monkeypatch.setattr(console, "width", width)
    assert call(monkeypatch, "-s", "flash_crash", "-s", "auto_deleveraging", "-s", "quote_depeg") == 0
    head, *rows = terminal.getvalue().splitlines()[1:]
    assert all(len(line.rstrip()) <= width and "…" not in line for line in rows if "/" not in line)
    short = ["liq.", "at", "drawdown", "in", "USD", "unhedged", "flat", "exit", "gain"]
    assert (head.split() == short) is not parts
    assert ("funding" in head) is parts
    marked = [line for line in rows if "ADL" in line]
    assert len(marked) == 3
    pegged = [line.split() for line in rows if line.startswith("  always_hedged_1x")]
    assert [line.count("3.00") for line in pegged] == [0, 1, 0], "in dollars only where it differs"
    assert "one draw of many" in " ".join(rows)


def test_without_a_depeg_nothing_is_said_of_dollars(
    monkeypatch: pytest.MonkeyPatch, terminal: io.StringIO
) -> None:
    assert call(monkeypatch, "-s", "squeeze", "--policy", "flat") == 0
    assert "USD" not in terminal.getvalue()


def test_recorded_hours_are_struck_at_the_instant_that_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    tape = tmp_path / "recorded"
    tape.mkdir()
    for (leg, ticker), table in synthetic_market(SyntheticSettings(hours=800), ["ETH"]).items():
        write_table(table, tape / f"{leg}_{ticker}.parquet")
    arguments = ("--tape", str(tape), "--tickers", "ETH", "--at", "2025-01-18T05", "-s", "quote_depeg")
    assert call(monkeypatch, *arguments) == 0
    (written,) = json.loads(Path("markets/recorded/stress/stress.json").read_text())["outcomes"]
    assert written["shock_ms"] == 1_737_176_400_000
    assert "around 2025-01-18 05:00 UTC" in Path("markets/recorded/stress/stress.html").read_text()
    assert call(monkeypatch, *arguments[:4], "--at", "2025-01-03") == 1
    assert "choose a later instant" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["-s", "sqeeze"], "unknown scenario 'sqeeze'; the nearest is 'squeeze'"),
        (["-p", "squeeze.sise=1"], "the nearest is 'size'"),
        (["-p", "squeeze.size=huge"], "squeeze.size = 'huge'"),
        (["--policy", "hedged"], "unknown policy 'hedged'"),
        (["--policy", "bundle"], "needs --bundle FOLDER"),
        (["--champion"], "has no champion"),
        (["--bundle", "nowhere", "-s", "squeeze"], "nowhere"),
        (["--bundle", "."], "holds no bundle.json; name the folder of a bundle"),
        (["-o", "env.action=weights", "-s", "squeeze"], "leave env.action at fraction"),
        (["--tickers", "SOLL"], "does not list SOLL; nearest: SOL"),
        (["--at", "2022-11-08"], "go together"),
        (["--tape", "nowhere", "--at", "2022-11-08"], "is no folder"),
        (["--tape", ".", "--at", "soon"], "is no instant"),
        (["--tape", ".", "--at", "2022-11-08T10:30"], "on the hour"),
        (["--tape", ".", "--at", "2022-11-08T10"], "spot_SOL.parquet"),
        (["-o", "home=/proc/nowhere", "-s", "unstressed", "--policy", "flat"], "cannot write in"),
    ],
)
def test_a_mistake_is_one_line_with_the_way_out(
    arguments: list[str], words: str, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    assert call(monkeypatch, *arguments) == 1
    said = capfd.readouterr().err
    assert said.startswith("error: ")
    assert len(said.splitlines()) == 1
    assert words in said
