"""What `render()` gives: a plotly figure of the episode so far."""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from plotly.subplots import make_subplots

from carryflow.core.instrument import ContractType
from carryflow.env.palette import FONT_FAMILY, INK, MUTED, PART_COLOURS, RULE
from carryflow.env.tape import MarketTape

Figure = Any
"""A plotly figure; plotly carries no types."""

Infos = Sequence[Mapping[str, Any]]
"""What the environment told at each row since its reset, oldest first."""

Instants = NDArray[np.datetime64]

POSITION, FUNDING_RATE, HALT = "#7a5cc0", "#d08a2e", "#c3c9d3"

TICKER_COLOURS = ("#3b82c4", "#d08a2e", "#c2566e", "#7d9a3c", "#9a6fc4", "#8c5a3c", "#2f4b7c", "#d98cb8")

DASHES = ("solid", "dot", "dash")
"""Where the colours come round again."""

BOOKS, PARTS, HELD, LAST = 1, 2, 3, 4  # panels, from the top


def draw_episode(tape: MarketTape, infos: Infos) -> Figure:
    """Draw one account's episode: equity, parts of profit, position, and the market that paid for it.

    Hours in which nothing could be traded are shaded, and a liquidation is marked.

    Args:
        tape: the market it was played in.
        infos: as `CryptoTradingEnv` tells them.

    """
    when, rows = _instants(infos), _rows(tape, infos)
    per_contract = tape.mark[rows] if tape.kind is ContractType.INVERSE else 1.0 / tape.mark[rows]
    figure = _panels("Equity, quote", "Parts of profit, quote", "Position, of capital", "Market, bp")
    _draw_books(figure, when, infos)
    _line(figure, HELD, when, _column(infos, "position"), "Position", POSITION, shape="vh")
    _shade_halts(figure, when, tape.tradable[rows])
    basis_bp = 1e4 * (tape.perp[rows] / tape.spot[rows] - 1.0)
    _line(figure, LAST, when, basis_bp, "Perpetual over spot", MUTED)
    figure.add_bar(
        x=when,
        y=-1e4 * tape.settlement_cash[rows] * per_contract,
        name="Funding that longs pay",
        marker={"color": FUNDING_RATE, "line": {"width": 0}},
        legend=_legend(LAST),
        row=LAST,
        col=1,
    )
    return _dress(figure, f"{tape.ticker}: {_summary(infos)}")


def draw_portfolio(tapes: Sequence[MarketTape], infos: Infos) -> Figure:
    """Draw a portfolio's episode: equity, parts of profit, each coin's position, and the margin in use.

    A coin's line is thick where it could not be traded, and a liquidation is marked.

    Args:
        tapes: the coins' markets, in the order of the action.
        infos: as `CryptoPortfolioEnv` tells them.

    """
    when, rows = _instants(infos), _rows(tapes[0], infos)
    figure = _panels("Equity, quote", "Parts of profit, quote", "Positions, of capital", "Margin in use")
    _draw_books(figure, when, infos)
    held = np.stack([info["positions"] for info in infos], axis=1)
    for k, tape in enumerate(tapes):
        again, colour = divmod(k, len(TICKER_COLOURS))
        _line(
            figure,
            HELD,
            when,
            held[k],
            tape.ticker,
            TICKER_COLOURS[colour],
            shape="vh",
            dash=DASHES[again % len(DASHES)],
        )
        _thicken_halts(figure, when, held[k], tape.tradable[rows], TICKER_COLOURS[colour])
    if not all(tape.tradable[rows].all() for tape in tapes):
        _name_halts(figure)
    used = _column(infos, "used_margin")
    _line(figure, LAST, when, np.where(used > 0.0, used, np.nan), "Margin in use", INK)
    figure.add_hline(
        y=1.0, line={"color": PART_COLOURS["liquidation"], "width": 1, "dash": "dash"}, row=LAST, col=1
    )
    lowest = np.log10(used[used > 0.0].min()) if used.any() else -2.0
    figure.update_yaxes(type="log", range=[lowest - 0.1, 0.15], dtick=1, row=LAST, col=1)
    return _dress(figure, f"{', '.join(tape.ticker for tape in tapes)}: {_summary(infos)}")


def _draw_books(figure: Figure, when: Instants, infos: Infos) -> None:
    _line(figure, BOOKS, when, _column(infos, "equity"), "Equity", INK, width=2.0)
    for part, colour in PART_COLOURS.items():
        quote = _column(infos, part)
        if quote.any():
            _line(figure, PARTS, when, quote, part.capitalize(), colour, shape="hv", width=1.5)
    for row in np.flatnonzero(np.diff(_column(infos, "liquidation"))) + 1:
        figure.add_vline(
            x=when[row].item(), line={"color": PART_COLOURS["liquidation"], "width": 1, "dash": "dash"}
        )
        figure.add_annotation(
            x=when[row].item(),
            xref="x",
            y=1.0,
            yref="y domain",
            text="liquidated ",
            showarrow=False,
            xanchor="right",
            yanchor="top",
        )


def _shade_halts(figure: Figure, when: Instants, tradable: NDArray[np.bool_]) -> None:
    for start, end in _halts(tradable):
        figure.add_vrect(
            x0=when[start].item(),
            x1=when[end].item(),
            fillcolor=HALT,
            opacity=0.5,
            line_width=0,
            layer="below",
        )
    if not tradable.all():
        _name_halts(figure)


def _thicken_halts(
    figure: Figure, when: Instants, held: NDArray[np.float64], tradable: NDArray[np.bool_], colour: str
) -> None:
    for start, end in _halts(tradable):
        figure.add_scatter(
            x=when[start : end + 1],
            y=held[start : end + 1],
            line={"color": colour, "width": 6, "shape": "vh"},
            mode="lines",
            opacity=0.35,
            showlegend=False,
            hoverinfo="skip",
            row=HELD,
            col=1,
        )


def _name_halts(figure: Figure) -> None:
    """Give what is halted its place in the legend."""
    line = {"color": HALT, "width": 6}
    figure.add_scatter(
        x=[None], y=[None], mode="lines", line=line, name="Halted", legend=_legend(HELD), row=HELD, col=1
    )


def _halts(tradable: NDArray[np.bool_]) -> Iterator[tuple[int, int]]:
    """Give the first and the last row of each stretch through which nothing trades.

    A halted row lasts until the next:

    >>> list(_halts(np.array([True, False, False, True, False])))
    [(1, 3), (4, 4)]
    """
    edges = np.flatnonzero(np.diff(~tradable, prepend=False, append=False))
    for start, end in edges.reshape(-1, 2).tolist():
        yield start, min(end, len(tradable) - 1)


def _line(
    figure: Figure,
    panel: int,
    when: Instants,
    values: NDArray[np.float64],
    name: str,
    colour: str,
    *,
    shape: str = "linear",
    width: float = 1.3,
    dash: str = "solid",
) -> None:
    figure.add_scatter(
        x=when,
        y=values,
        name=name,
        mode="lines",
        line={"color": colour, "width": width, "shape": shape, "dash": dash},
        legend=_legend(panel),
        row=panel,
        col=1,
    )


def _legend(panel: int) -> str:
    return "legend" if panel == 1 else f"legend{panel}"


def _summary(infos: Infos) -> str:
    """Say what became of the capital.

    >>> _summary([{"equity": 100.0}, {"equity": 101.5}])
    '+1.50 % of capital after 1 bar'
    """
    gained = 100.0 * (infos[-1]["equity"] / infos[0]["equity"] - 1.0)
    bars = len(infos) - 1
    return f"{gained:+.2f} % of capital after {bars} bar{'' if bars == 1 else 's'}"


def _column(infos: Infos, name: str) -> NDArray[np.float64]:
    return np.array([info[name] for info in infos], dtype=np.float64)


def _instants(infos: Infos) -> Instants:
    return np.array([info["now_ms"] for info in infos], dtype=np.int64).astype("datetime64[ms]")


def _rows(tape: MarketTape, infos: Infos) -> NDArray[np.intp]:
    return np.searchsorted(tape.decision_ms, [info["now_ms"] for info in infos])


def _panels(*titles: str) -> Figure:
    figure = make_subplots(
        rows=len(titles), cols=1, shared_xaxes=True, vertical_spacing=0.07, row_heights=[0.3, 0.28, 0.22, 0.2]
    )
    for panel, title in enumerate(titles, start=1):
        figure.update_yaxes(title_text=title, row=panel, col=1)
    return figure


def _dress(figure: Figure, title: str) -> Figure:
    """Give the figure its look, and each panel the legend of its own lines."""
    for panel in range(BOOKS, LAST + 1):
        axis = next(figure.select_yaxes(row=panel, col=1))
        above = {
            "orientation": "h",
            "y": axis.domain[1],
            "yanchor": "bottom",
            "x": 0,
            "bgcolor": "rgba(0,0,0,0)",
        }
        figure.update_layout({_legend(panel): above})
    figure.update_layout(
        template="none",
        title={"text": title, "x": 0.02, "font": {"size": 14, "color": INK}},
        height=800,
        margin={"l": 78, "r": 18, "t": 70, "b": 40},
        font={"family": FONT_FAMILY, "size": 12, "color": INK},
        hovermode="x unified",
        bargap=0.0,
        showlegend=True,
    )
    figure.update_xaxes(gridcolor=RULE, linecolor=RULE, zeroline=False)
    figure.update_yaxes(
        gridcolor=RULE,
        linecolor=RULE,
        zerolinecolor=RULE,
        title_font={"size": 12},
        title_standoff=8,
        automargin=True,
    )
    return figure
