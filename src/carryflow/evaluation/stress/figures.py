"""The stress test's figures, one a scenario: price and basis over position, equity and what is unhedged."""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

import plotly.graph_objects as go
import polars as pl
from plotly.subplots import make_subplots

from carryflow.env.palette import INK, MUTED, RULE
from carryflow.evaluation import baselines
from carryflow.evaluation.figures import Figure, label
from carryflow.evaluation.stress.play import HEDGED_1X, HEDGED_5X
from carryflow.evaluation.stress.run import Outcome

SHOWN_BEFORE_HOURS = 12.0

COLOURS: Mapping[str, str] = MappingProxyType(
    {
        HEDGED_1X: "#0b6e6e",
        HEDGED_5X: "#d9534f",
        baselines.THRESHOLD_CARRY: "#3b82c4",
        baselines.FLAT: "#a9b1bd",
        baselines.CHAMPION: "#c77700",
        "bundle": "#7a5cc0",
    }
)
_OTHER = "#5b6573"
_SPOT, _PERP, _BASIS = INK, "#c77700", "rgba(122,92,192,0.55)"
_BESIDE: Mapping[str, tuple[str, str, str, str]] = MappingProxyType(
    {
        "basis": ("basis_bp", "Basis (right)", "Basis, bp", "%{y:+.0f} bp of spot"),
        "depth": ("depth", "Depth within 10 bp (right)", "Depth, quote", "%{y:,.0f}"),
        "quote": ("quote_usd", "Quote coin (right)", "Quote coin, USD", "%{y:.3f} USD"),
    }
)
"""What stands beside prices: its column, its name, its axis and how it is read."""

_WIDE = 4.5
"""Width of the first policy's line, on which the others lie where they do the same."""

_TELLING = 1e-3
"""Part of capital below which nothing is said to have stood unhedged."""


def colour(policy: str) -> str:
    """Give the colour of a policy's lines."""
    return COLOURS.get(policy, _OTHER)


def draw_outcome(outcome: Outcome) -> Figure:
    """Draw one scenario: the market, then each policy's position, equity and unhedged coins, by the hour.

    Equity is in per cent of what it was at the shock; dashed, it is counted in dollars. Accounts begin there.
    """
    unhedged = any(verdict.largest_unhedged > _TELLING for verdict in outcome.verdicts)
    rows, heights = (4, [0.36, 0.2, 0.26, 0.18]) if unhedged else (3, [0.42, 0.24, 0.34])
    figure = make_subplots(
        rows=rows,
        cols=1,
        shared_xaxes=True,
        row_heights=heights,
        vertical_spacing=0.045,
        specs=[[{"secondary_y": True}]] + [[{}]] * (rows - 1),
    )
    shown = pl.col("hour").is_between(-SHOWN_BEFORE_HOURS, outcome.scenario.shown_hours)
    _draw_market(figure, outcome.market.filter(shown), outcome.scenario.shows)
    in_dollars = outcome.market["quote_usd"].min() != 1.0
    for place, (name, trace) in enumerate(outcome.traces.items()):
        seen = trace.filter(shown)
        at_shock = trace.filter(pl.col("hour") == 0)
        line = {"color": colour(name), "width": 1.8 if place else _WIDE}
        shared: dict[str, Any] = {"x": seen["hour"], "mode": "lines", "legendgroup": name, "col": 1}
        named = {"name": label(name), "line": line}
        held = named | {"line": line | {"shape": "vh"}}  # what an hour's first instant left is its last's
        figure.add_scatter(y=seen["position"], **shared, **held, row=2, hovertemplate="%{y:+.2f} of capital")
        for column, dash in (("equity", "solid"), ("equity_usd", "dash"))[: 2 if in_dollars else 1]:
            gained = 100.0 * (seen[column] / at_shock[column].item() - 1.0)
            figure.add_scatter(
                y=gained,
                **shared,
                name=label(name) + (" in USD" if dash == "dash" else ""),
                line=line | {"dash": dash},
                row=3,
                showlegend=False,
                hovertemplate="%{y:+.2f} %",
            )
        if unhedged:
            share = 100.0 * seen["unhedged_quote"] / at_shock["equity"].item()
            figure.add_scatter(
                y=share, **shared, **named, row=4, showlegend=False, hovertemplate="%{y:+.1f} % of capital"
            )
        gone = seen.filter(pl.col("liquidated")).head(1)
        if len(gone):
            figure.add_scatter(
                x=gone["hour"],
                y=100.0 * (gone["equity"] / at_shock["equity"].item() - 1.0),
                mode="markers",
                marker={"symbol": "x", "size": 11, "color": colour(name), "line": {"width": 1}},
                name=f"{label(name)}: liquidated",
                legendgroup=name,
                showlegend=False,
                row=3,
                col=1,
                hovertemplate="liquidated",
            )
    figure.update_yaxes(title_text="Price", row=1, col=1, secondary_y=False)
    figure.update_yaxes(title_text="Position", row=2, col=1)
    figure.update_yaxes(title_text="Equity, %", zeroline=True, zerolinecolor=MUTED, row=3, col=1)
    if unhedged:
        figure.update_yaxes(title_text="Unhedged, %", zeroline=True, zerolinecolor=MUTED, row=4, col=1)
    figure.update_xaxes(title_text="Hours from the shock", row=rows, col=1)
    figure.add_vline(x=0, line={"color": INK, "width": 1, "dash": "dot"})
    return _dress(figure, height=640 if unhedged else 560)


def _draw_market(figure: Figure, market: pl.DataFrame, shows: str) -> None:
    """Draw spot, perpetual and the top of the mark, and behind them what is peculiar to the scenario."""
    at: dict[str, Any] = {"row": 1, "col": 1}
    column, name, unit, hover = _BESIDE[shows]
    values = market[column]
    figure.add_scatter(
        x=market["hour"],
        y=values,
        name=name,
        mode="lines",
        line={"color": _BASIS, "width": 1.4},
        fill="tozeroy" if shows == "basis" else None,
        fillcolor="rgba(122,92,192,0.12)",
        hovertemplate=hover,
        secondary_y=True,
        **at,
    )
    for column, words, tone in (("spot", "Spot", _SPOT), ("perp", "Perpetual", _PERP)):
        price = market.with_columns(
            shown=pl.when(pl.col("tradable") | (pl.lit(column) != "spot")).then(pl.col(column))
        )
        figure.add_scatter(
            x=price["hour"],
            y=price["shown"],
            name=words,
            mode="lines",
            line={"color": tone, "width": 1.6},
            hovertemplate="%{y:,.6~g}",
            secondary_y=False,
            **at,
        )
    spikes = market.filter(pl.col("mark_high") > 1.02 * pl.max_horizontal("mark", pl.col("mark").shift(1)))
    if len(spikes):
        figure.add_scatter(
            x=spikes["hour"],
            y=spikes["mark_high"],
            name="Top of the mark",
            mode="markers",
            marker={"symbol": "triangle-up", "size": 10, "color": _PERP, "line": {"width": 1, "color": INK}},
            hovertemplate="%{y:,.6~g}",
            secondary_y=False,
            **at,
        )
    figure.update_yaxes(title_text=unit, showgrid=False, zeroline=False, secondary_y=True, **at)


def _dress(figure: go.Figure, height: int) -> Figure:
    """Give the figure the reports' look."""
    figure.update_layout(
        template="none",
        height=height,
        margin={"l": 66, "r": 62, "t": 58, "b": 44},
        font={"family": "Inter, -apple-system, 'Segoe UI', Roboto, sans-serif", "size": 12, "color": INK},
        paper_bgcolor="rgba(0,0,0,0)",
        plot_bgcolor="rgba(0,0,0,0)",
        hovermode="x unified",
        hoverlabel={"bgcolor": "white", "bordercolor": RULE},
        legend={"orientation": "h", "y": 1.0, "yanchor": "bottom", "x": 0},
    )
    figure.update_xaxes(gridcolor=RULE, linecolor=RULE, tickcolor=RULE, zeroline=False)
    figure.update_yaxes(gridcolor=RULE, linecolor=RULE, tickcolor=RULE, title_font={"size": 12}, nticks=6)
    return figure
