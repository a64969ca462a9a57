"""The report: one HTML file that shows the evidence on a bundle, and says nothing of a verdict."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup

from carryflow.core.atomic import write_atomically
from carryflow.evaluation import figures, formats
from carryflow.evaluation.baselines import FLAT, GATED
from carryflow.evaluation.evidence import REPORT_FILE, Evidence
from carryflow.evaluation.metrics import MONTH_HOURS

Curves = Mapping[str, Sequence[Mapping[str, float]]]
"""By agent, the rows of its learning curve: `env_steps`, `episode_return_bp`, …"""

DAY_MS = 86_400_000

TRAINING_ONLY = ("episode_bars", "random_start", "risk.")
"""Settings of the environment that steer training and touch no backtest."""


@dataclass(frozen=True, slots=True)
class GateUse:
    """Tell how the gate spread its weight.

    Attributes:
        weights: by expert, the mean weight over all tickers and hours.
        effective: how many experts it used, on average: the exponential of the weights' entropy, 1 when one
            expert decides alone, their number when all weigh the same.
    """

    weights: Mapping[str, float]
    effective: float


def write_report(
    out_dir: Path, evidence: Evidence, ledgers: pl.DataFrame, carry: pl.DataFrame, curves: Curves
) -> Path:
    """Write the report into a folder and give its path.

    The file carries its style, its data and the plotting library, and asks nothing of the network.

    Args:
        out_dir: the folder.
        evidence: what is reported.
        ledgers: the ledgers of all policies, as `backtest` gives them, with a column `policy`.
        carry: timestamp, ticker, carry_apr: the trailing carry known at each hour of the test (1/year).
        curves: learning curves by agent; none leaves their section out.
    """
    from plotly.offline import get_plotlyjs

    gated = ledgers.filter(pl.col("policy") == GATED)
    shown = evidence.policies[GATED]
    drawn = {
        "equity": figures.draw_equity(ledgers),
        "split": figures.draw_split(evidence.policies),
        "positions": figures.draw_positions(gated, carry),
        "gate": figures.draw_gate(gated),
    }
    gate = measure_gate(gated)
    if curves:
        drawn["curves"] = figures.draw_curves(_in_order(curves, tuple(gate.weights)))
    page = (
        _template_environment()
        .from_string(_template())
        .render(
            evidence=evidence,
            days=(evidence.test_end_ms - evidence.test_start_ms) / DAY_MS,
            capital=len(evidence.tickers) * float(evidence.env["capital_quote"]),
            order=[name for name in figures.POLICY_COLOURS if name in evidence.policies],
            gated=GATED,
            shown=shown,
            monthly=shown.portfolio.hours >= 2 * MONTH_HOURS,
            gate_hours=figures.hours_a_point(shown.portfolio.hours),
            leads=dict(_leads(evidence)),
            gate=gate,
            account=[pair for pair in _flatten(evidence.env) if not pair[0].startswith(TRAINING_ONLY)],
            colours=figures.POLICY_COLOURS,
            figures={name: _as_script(figure.to_json()) for name, figure in drawn.items()},
            plotly=Markup(get_plotlyjs()),  # noqa: S704 - the library, made to be inlined
        )
    )
    target = out_dir / REPORT_FILE
    with write_atomically(target) as path:
        path.write_text(page, encoding="utf-8")
    return target


def measure_gate(ledger: pl.DataFrame) -> GateUse:
    """Measure how one policy's gate spread its weight over its experts.

    >>> use = measure_gate(pl.DataFrame({"gate_long": [0.5, 0.5], "gate_short": [0.5, 0.5]}))
    >>> (use.weights, round(use.effective, 9))
    ({'long': 0.5, 'short': 0.5}, 2.0)
    """
    gates = [column for column in ledger.columns if column.startswith("gate_")]
    weights = ledger.select(gates).drop_nulls().to_numpy()
    # A weight of zero adds nothing to the entropy: w·ln w tends to 0.
    entropy = -(weights * np.log(np.where(weights > 0.0, weights, 1.0))).sum(axis=1)
    means = {
        column.removeprefix("gate_"): float(mean)
        for column, mean in zip(gates, weights.mean(axis=0), strict=True)
    }
    return GateUse(means, float(np.exp(entropy.mean())))


def _in_order(curves: Curves, experts: Sequence[str]) -> Curves:
    """Put the experts' curves in the order of the gate, others behind by name: folders have no order."""
    others = sorted(set(curves) - set(experts))
    return {name: curves[name] for name in (*experts, *others) if name in curves}


def _leads(evidence: Evidence) -> Iterator[tuple[str, float]]:
    """Give by how much the gated policy's yearly return exceeds each other policy's."""
    own = evidence.policies[GATED].portfolio.return_apr
    for name, score in evidence.policies.items():
        if name not in {GATED, FLAT}:
            yield name, own - score.portfolio.return_apr


def _flatten(settings: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Give nested settings as dotted names with values."""
    for name, value in settings.items():
        if isinstance(value, Mapping):
            yield from _flatten(value, f"{prefix}{name}.")
        else:
            yield f"{prefix}{name}", value


def _as_script(json_text: str) -> Markup:
    """Let JSON stand within a script element, which only a `<` could end."""
    return Markup(json_text.replace("<", "\\u003c"))  # noqa: S704


def _template() -> str:
    """Read the page's template, which lies beside this module."""
    return files("carryflow.evaluation").joinpath("report.html.j2").read_text(encoding="utf-8")


def _template_environment() -> Environment:
    """Give the template's environment with the formats that the page uses."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    environment.filters |= {**formats.FILTERS, "label": figures.label}
    return environment
