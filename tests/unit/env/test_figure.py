"""What `render` draws of an episode."""

from typing import Any

import numpy as np
import plotly.graph_objects as go
import pytest

from carryflow.env.check.markets import wild_tape
from carryflow.env.crypto import CryptoTradingEnv
from carryflow.env.portfolio.env import CryptoPortfolioEnv
from carryflow.env.settings import EnvSettings
from carryflow.env.tape import MarketTape
from carryflow.features.spec import FeatureSpec

SETTINGS = EnvSettings(random_start=False, episode_bars=30)


def tapes(count: int, *, calm: bool = True) -> list[MarketTape]:
    generator, spec = np.random.default_rng(0), FeatureSpec(("first", "second"), 3)
    return [wild_tape(spec, 200, generator, ticker=f"C{k}", calm=calm) for k in range(count)]


def lines_of(figure: Any) -> dict[str, Any]:
    assert isinstance(figure, go.Figure)
    return {line.name: line for line in figure.data}


def test_an_episode_is_drawn_to_its_end_and_no_further() -> None:
    env = CryptoTradingEnv(tapes(1), SETTINGS, render_mode="figure")
    env.reset()
    for _ in range(40):  # ten more than there are
        *_, info = env.step(np.array([0.8], dtype=np.float32))
    lines = lines_of(env.render())
    for name in ("Equity", "Fees", "Position", "Perpetual over spot", "Funding that longs pay"):
        assert len(lines[name].x) == len(lines[name].y) == 31, name
    assert lines["Equity"].y[-1] == info["equity"]
    tape = env.tapes[0]
    drawn = slice(tape.first, tape.first + 31)
    assert lines["Perpetual over spot"].y == pytest.approx(1e4 * (tape.perp / tape.spot - 1.0)[drawn])


def test_no_two_lines_of_an_episode_share_a_colour() -> None:
    env = CryptoTradingEnv(tapes(1), SETTINGS, render_mode="figure")
    env.reset()
    env.step(np.array([0.8], dtype=np.float32))
    lines = lines_of(env.render()).values()
    colours = [line.marker.color if line.type == "bar" else line.line.color for line in lines]
    assert len(set(colours)) == len(colours)


def test_a_portfolios_figure_shows_every_coin_its_halts_and_the_margin_that_is_left() -> None:
    env = CryptoPortfolioEnv(tapes(3), SETTINGS, render_mode="figure")
    env.reset()
    for _ in range(40):
        *_, info = env.step([0.3, -0.3, 0.3])
    figure = env.render()
    lines = lines_of(figure)
    assert {"Equity", "Fees", "C0", "C1", "C2", "Halted", "Margin in use"} <= set(lines)
    assert lines["C1"].y[-1] == info["positions"][1]
    assert len(lines["C1"].y) == 31
    assert [shape.y0 for shape in figure.layout.shapes] == [1.0], "the margin at which the venue closes"


def test_a_liquidation_is_marked_where_it_came() -> None:
    settings = SETTINGS.model_copy(update={"spot_share": 0.9, "episode_bars": 200})
    env = CryptoTradingEnv(tapes(1, calm=False), settings, render_mode="figure")
    env.reset()
    ended = False
    while not ended:
        *_, ended, _, info = env.step(np.array([1.0], dtype=np.float32))
    notes = [note for note in env.render().layout.annotations if "liquidated" in note.text]
    assert [np.datetime64(note.x, "ms").astype(int) for note in notes] == [info["now_ms"]]
