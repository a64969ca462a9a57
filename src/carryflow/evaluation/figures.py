"""The report's figures: each is a plotly figure of one question that a reader of a backtest asks."""

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

import numpy as np
import plotly.graph_objects as go
import polars as pl
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from carryflow.env.palette import FONT_FAMILY, INK, MUTED, RULE
from carryflow.env.palette import PART_COLOURS as BOOKED_COLOURS
from carryflow.evaluation import baselines
from carryflow.evaluation.formats import format_percent
from carryflow.evaluation.ledgers import pool
from carryflow.evaluation.metrics import PARTS, PolicyScore, drawdown

Figure = Any
"""A plotly figure; plotly carries no types."""

MOST_POINTS = 2_000
"""Points that a line is thinned to: more than a screen has."""

GATE_POINTS = 360
"""Points that the gate's weights are averaged to: hour by hour they are too restless to read."""

POLICY_COLOURS: Mapping[str, str] = MappingProxyType(
    {
        baselines.GATED: "#0b6e6e",
        baselines.CHAMPION: "#c77700",
        baselines.UNGATED_MEAN: "#7a5cc0",
        baselines.THRESHOLD_CARRY: "#3b82c4",
        baselines.ALWAYS_HEDGED: "#8a94a6",
        baselines.FLAT: "#c3c9d3",
    }
)
PART_COLOURS: Mapping[str, str] = MappingProxyType({**BOOKED_COLOURS, "residual": "#c3c9d3"})
EXPERT_COLOURS = ("#d08a2e", "#3b82c4", "#1a9c8a", "#9a6fc4", "#c2566e", "#6b7a8f")


def label(name: str) -> str:
    """Give a policy's, an expert's or a part's name as a reader reads it.

    >>> label("always_hedged"), label("long_term_ppo")
    ('Always hedged', 'Long term')
    """
    return name.removesuffix("_ppo").replace("_", " ").capitalize()


def draw_equity(ledgers: pl.DataFrame) -> Figure:
    """Draw each policy's portfolio, as return on capital, over its drawdown."""
    figure = make_subplots(rows=2, cols=1, shared_xaxes=True, row_heights=[0.7, 0.3], vertical_spacing=0.05)
    for name in reversed([policy for policy in POLICY_COLOURS if policy in set(ledgers["policy"])]):
        pooled = pool(ledgers.filter(pl.col("policy") == name))
        equity = pooled["equity"].to_numpy()
        at = _thin(len(equity))
        hours = pooled["timestamp"].to_list()
        when = [hours[row] for row in at]
        line = {"color": POLICY_COLOURS[name], "width": 2.6 if name == baselines.GATED else 1.5}
        shared = {"x": when, "mode": "lines", "name": label(name), "legendgroup": name, "line": line}
        gained = 100.0 * (equity[at] / equity[0] - 1.0)
        fallen = -100.0 * _deepest(drawdown(equity), at)
        hover = "%{y:+.3f} %"
        figure.add_scatter(y=gained, hovertemplate=hover, **shared, row=1, col=1)
        figure.add_scatter(y=fallen, hovertemplate=hover, showlegend=False, **shared, row=2, col=1)
    figure.update_yaxes(title_text="Return on capital, %", row=1, col=1, zeroline=True, zerolinecolor=MUTED)
    figure.update_yaxes(title_text="Drawdown, %", row=2, col=1)
    return _dress(figure, height=520, unified=True, reverse_legend=True)


def draw_split(policies: Mapping[str, PolicyScore]) -> Figure:
    """Draw where each policy's return came from, as parts of capital, with the net as a mark."""
    names = list(reversed([name for name in POLICY_COLOURS if name in policies]))
    scores = [policies[name].portfolio for name in names]
    rows = [label(name) for name in names]
    figure = go.Figure()
    for part in PARTS:
        shares = [100.0 * getattr(score.split, part) / score.capital_quote for score in scores]
        if max(map(abs, shares)) < 5e-4 and part != "funding":
            continue
        figure.add_bar(
            y=rows,
            x=shares,
            name=label(part),
            orientation="h",
            marker_color=PART_COLOURS[part],
            hovertemplate="%{x:+.3f} %",
        )
    for row, score in zip(rows, scores, strict=True):
        gained = sum(max(0.0, getattr(score.split, part)) for part in PARTS) / score.capital_quote
        figure.add_annotation(
            y=row,
            x=100.0 * gained,
            text=f"<b>{format_percent(score.return_total)}</b> net",
            xanchor="left",
            xshift=12,
            showarrow=False,
            font={"size": 12, "color": INK},
        )
    figure.add_scatter(
        y=rows,
        x=[100.0 * score.return_total for score in scores],
        name="Net",
        mode="markers",
        marker={"symbol": "diamond", "size": 10, "color": INK, "line": {"color": "white", "width": 1.5}},
        hovertemplate="%{x:+.3f} %",
    )
    figure.update_layout(barmode="relative", bargap=0.5)
    figure.update_xaxes(title_text="Part of capital over the test hours, %", zeroline=True, zerolinecolor=INK)
    _dress(figure, height=90 + 62 * len(names))
    return figure.update_yaxes(showgrid=False)


def draw_positions(ledger: pl.DataFrame, carry: pl.DataFrame) -> Figure:
    """Draw one policy's position in each ticker, and the trailing carry that was there to be had.

    Args:
        ledger: one policy's rows.
        carry: timestamp, ticker, carry_apr (1/year): trailing carry known at that hour.
    """
    tickers = ledger["ticker"].unique().sort().to_list()
    figure = make_subplots(
        rows=len(tickers),
        cols=1,
        shared_xaxes=True,
        vertical_spacing=0.09 / len(tickers),
        specs=[[{"secondary_y": True}] for _ in tickers],
    )
    for row, ticker in enumerate(tickers, start=1):
        held = ledger.filter(pl.col("ticker") == ticker)
        known = carry.filter(pl.col("ticker") == ticker)
        figure.add_scatter(
            **_line(held, "position"),
            name="Position",
            legendgroup="position",
            showlegend=row == 1,
            line={"color": POLICY_COLOURS[baselines.GATED], "width": 1.2, "shape": "vh"},
            fill="tozeroy",
            fillcolor="rgba(11,110,110,0.22)",
            hovertemplate="%{y:+.2f} of capital",
            row=row,
            col=1,
        )
        figure.add_scatter(
            **_line(known, "carry_apr", scale=100.0),
            name="Trailing 72 h carry",
            legendgroup="carry",
            showlegend=row == 1,
            line={"color": "#c77700", "width": 1.3},
            hovertemplate="%{y:+.1f} % a year",
            row=row,
            col=1,
            secondary_y=True,
        )
        figure.update_yaxes(
            title_text=f"<b>{ticker}</b>",
            range=[-1.3, 1.3],
            tickvals=[-1, 0, 1],
            row=row,
            col=1,
            secondary_y=False,
        )
        reach = 130.0 * max(0.05, float(known["carry_apr"].abs().max() or 0.0))  # type: ignore[arg-type]
        figure.update_yaxes(
            range=[-reach, reach], showgrid=False, ticksuffix=" %", nticks=5, row=row, col=1, secondary_y=True
        )
    return _dress(figure, height=90 + 150 * len(tickers), right=56, unified=True)


def hours_a_point(hours: int) -> int:
    """Give how many hours one point of `draw_gate` averages."""
    return max(1, -(-hours // GATE_POINTS))


def draw_gate(ledger: pl.DataFrame) -> Figure:
    """Draw the gate's weights over time, averaged over tickers and `hours_a_point` hours, stacked to one."""
    gates = [column for column in ledger.columns if column.startswith("gate_")]
    decided = ledger.drop_nulls(gates).sort("timestamp")
    span = f"{hours_a_point(decided['timestamp'].n_unique())}h"
    hourly = decided.group_by_dynamic("timestamp", every=span).agg(pl.col(gates).mean())
    figure = go.Figure()
    for column, colour in zip(gates, EXPERT_COLOURS, strict=False):
        figure.add_scatter(
            **_line(hourly, column, scale=100.0),
            name=label(column.removeprefix("gate_")),
            stackgroup="gate",
            line={"width": 0.4, "color": colour},
            fillcolor=colour,
            hovertemplate="%{y:.1f} %",
        )
    figure.update_yaxes(range=[0, 100], title_text="Weight, %")
    return _dress(figure, height=300, unified=True)


def draw_curves(curves: Mapping[str, Sequence[Mapping[str, float]]]) -> Figure:
    """Draw what each agent's episodes returned as it learned: one panel each, by environment steps.

    Args:
        curves: by agent, rows with `env_steps` and, where an episode ended, `episode_return_bp`.
    """
    names = list(curves)
    figure = make_subplots(
        rows=1, cols=len(names), subplot_titles=[label(name) for name in names], horizontal_spacing=0.05
    )
    for column, (name, colour) in enumerate(zip(names, EXPERT_COLOURS, strict=False), start=1):
        rows = [row for row in curves[name] if "episode_return_bp" in row]
        figure.add_scatter(
            x=[row["env_steps"] for row in rows],
            y=[row["episode_return_bp"] for row in rows],
            name=label(name),
            mode="lines+markers",
            marker={"size": 4},
            line={"color": colour, "width": 1.8},
            hovertemplate="%{y:.2f} after %{x:,} steps",
            showlegend=False,
            row=1,
            col=column,
        )
    figure.update_annotations(font={"size": 12, "color": INK})
    figure.update_xaxes(tickformat="~s", nticks=4)
    return _dress(figure, height=240, top=36)


def _line(rows: pl.DataFrame, column: str, scale: float = 1.0) -> dict[str, Any]:
    """Give a thinned line's points."""
    at = _thin(len(rows))
    hours = rows["timestamp"].to_list()
    return {"x": [hours[row] for row in at], "y": scale * rows[column].to_numpy()[at], "mode": "lines"}


def _thin(length: int) -> NDArray[np.intp]:
    """Give at most about MOST_POINTS evenly spaced rows; the first and the last are among them."""
    stride = max(1, -(-length // MOST_POINTS))
    rows = np.arange(0, length, stride)
    return rows if rows[-1] == length - 1 else np.append(rows, length - 1)


def _deepest(values: NDArray[np.float64], at: NDArray[np.intp]) -> NDArray[np.float64]:
    """Give the largest value since the row before, at the rows: thinning must not hide a fall."""
    previous = np.concatenate(([-1], at[:-1]))
    return np.array([values[start + 1 : end + 1].max() for start, end in zip(previous, at, strict=True)])


def _dress(
    figure: Figure,
    height: int,
    *,
    unified: bool = False,
    top: int = 34,
    right: int = 18,
    reverse_legend: bool = False,
) -> Figure:
    """Give a figure the report's look."""
    figure.update_layout(
        template="none",
        height=height,
        margin={"l": 62, "r": right, "t": top, "b": 44},
        font={
            "family": FONT_FAMILY,
            "size": 12,
            "color": INK,
        },
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        hovermode="x unified" if unified else "closest",
        hoverlabel={"bgcolor": "white", "bordercolor": RULE, "font": {"size": 12, "color": INK}},
        legend={
            "orientation": "h",
            "y": 1.0,
            "yanchor": "bottom",
            "x": 0,
            "traceorder": "reversed" if reverse_legend else "normal",
        },
    )
    figure.update_xaxes(gridcolor=RULE, linecolor=RULE, tickcolor=RULE, zeroline=False, automargin=True)
    figure.update_yaxes(
        gridcolor=RULE, linecolor=RULE, tickcolor=RULE, title_font={"size": 12}, automargin=True
    )
    return figure
