"""The result of a run, as tables for a terminal."""

from collections.abc import Sequence

from rich.table import Table

from carryflow.cli.proof import Proof
from carryflow.evaluation.evidence import Evidence
from carryflow.evaluation.metrics import Metrics, Sharpe
from carryflow.promotion.verdict import Verdict

HEADINGS = ("a year", "PnL", "funding", "basis", "costs")
"""Return on capital a year, and profit in quote with its parts; costs are fees, slippage and borrow."""


def policies_table(evidence: Evidence) -> Table:
    """Lay every policy's result on the test hours side by side, best return first."""
    table = Table(title="Hours that the policy had not seen, all coins as one account", title_justify="left")
    table.add_column("policy", no_wrap=True)
    for heading in (*HEADINGS, "drawdown", "Sharpe, weekly", "turnover"):
        table.add_column(heading, justify="right", no_wrap=True)
    scores = {name: score.portfolio for name, score in evidence.policies.items()}
    for name in sorted(scores, key=lambda name: -scores[name].return_apr):
        table.add_row(name, *_cells(scores[name]))
    return table


def verdict_table(verdict: Verdict) -> Table:
    """List what the verdict rests on, one row a criterion."""
    table = Table(
        title="Verdict: promoted" if verdict.promote else "Verdict: not promoted", title_justify="left"
    )
    table.add_column("")
    table.add_column("criterion")
    table.add_column("found")
    for reason in verdict.reasons:
        table.add_row("✓" if reason.passed else "✗", reason.criterion.value, reason.words)
    return table


def proof_table(proofs: Sequence[Proof]) -> Table:
    """Lay the served answers beside the offline ones, one row a coin."""
    table = Table(title="One decision over HTTP, and the same offline", title_justify="left")
    for heading in ("coin", "served", "offline", "equal", "features known at", "expires", "decision id"):
        table.add_column(heading)
    for proof in proofs:
        served = proof.served
        table.add_row(
            proof.ticker,
            f"{served['action']:+.6f}",
            f"{proof.offline:+.6f}",
            served["reason"] if proof.held else "✓" if proof.equal else "✗",
            served["feature_known_at"],
            served["expires_at"],
            served["decision_id"],
        )
    return table


def _cells(metrics: Metrics) -> tuple[str, ...]:
    split = metrics.split
    money = (metrics.pnl_quote, split.funding, split.basis, split.fees + split.slippage + split.borrow)
    return (
        f"{metrics.return_apr:+.2%}",
        *(f"{value:+,.0f}" for value in money),
        f"{metrics.max_drawdown:.2%}",
        _sharpe(metrics.sharpe_weekly),
        f"{metrics.turnover_per_year:.1f}×",
    )


def _sharpe(sharpe: Sharpe | None) -> str:
    return "–" if sharpe is None else f"{sharpe.ratio:.1f} ± {sharpe.error:.1f}"
