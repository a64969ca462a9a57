"""Scenarios and verdicts of the stress test, as tables for a terminal."""

from collections.abc import Callable, Sequence

from rich import box
from rich.console import Console
from rich.table import Table

from carryflow.env.stress.scenario import Scenario
from carryflow.evaluation import formats
from carryflow.evaluation.stress.run import Outcome
from carryflow.evaluation.stress.verdict import Verdict
from carryflow.market.timeframe import HOUR_MS

_ENDLESS = 1000
"""Columns in which any table has room."""

Cell = Callable[[Verdict, int], str]
"""Writes one cell from a verdict and the instant of the shock (UTC ms)."""


def verdict_table(outcomes: Sequence[Outcome], console: Console) -> Table:
    """Lay the verdicts out, one row a policy, scenario by scenario; without parts, if the terminal is narrow.

    "liq." is the fee of a liquidation; above zero, what the venue's insurance fund bore after a gap. Who was
    auto-deleveraged, and not liquidated, has "ADL" for the hour.
    """
    whole = _lay_out(outcomes, wide=True)
    needed = console.measure(whole, options=console.options.update_width(_ENDLESS)).maximum
    return whole if needed <= console.width else _lay_out(outcomes, wide=False)


def _lay_out(outcomes: Sequence[Outcome], *, wide: bool) -> Table:
    tickers = {outcome.ticker for outcome in outcomes}
    verdicts = [verdict for outcome in outcomes for verdict in outcome.verdicts]
    table = Table(
        title=f"Under stress, {', '.join(sorted(tickers))}: % of equity at the shock, and hours from it",
        box=box.SIMPLE_HEAD,
        title_justify="left",
        padding=(0, 1, 0, 0),
        show_edge=False,
    )
    table.add_column("", no_wrap=True)
    columns = _columns(wide=wide, in_dollars=any(map(in_dollars, verdicts)))
    for name in columns:
        table.add_column(name, justify="right", no_wrap=True)
    for outcome in outcomes:
        coin = f" {outcome.ticker}" if len(tickers) > 1 else ""
        table.add_row(f"[bold]{outcome.scenario.name}[/bold]{coin}")
        for place, verdict in enumerate(outcome.verdicts):
            table.add_row(
                f"  {verdict.policy}",
                *(cell(verdict, outcome.shock_ms) for cell in columns.values()),
                end_section=place == len(outcome.verdicts) - 1,
            )
    cautions = {each.scenario.name: each.scenario.caution for each in outcomes if each.scenario.caution}
    if cautions:
        table.caption = "\n".join(f"{name}: {caution}" for name, caution in cautions.items())
        table.caption_justify = "left"
    return table


def in_dollars(verdict: Verdict) -> bool:
    """Say whether a fall is another one in dollars."""
    return abs(verdict.worst_drawdown_usd - verdict.worst_drawdown) > 5e-5


def scenarios_table(scenarios: Sequence[Scenario]) -> Table:
    """List scenarios with their parameters, units and source."""
    table = Table(title="stress scenarios", box=box.SIMPLE_HEAD, title_justify="left")
    table.add_column("scenario.parameter", no_wrap=True)
    table.add_column("value", justify="right", no_wrap=True)
    table.add_column("what it is (unit)", overflow="fold")
    for scenario in scenarios:
        table.add_row(f"[bold]{scenario.name}[/bold]", "", f"{scenario.about}\n[dim]{scenario.source}[/dim]")
        parameters = list(scenario.parameters)
        for place, (name, value, meaning) in enumerate(parameters):
            shown = "–" if value is None else f"{value:g}"
            table.add_row(
                f"  {scenario.name}.{name}", shown, meaning, end_section=place == len(parameters) - 1
            )
    return table


def _columns(*, wide: bool, in_dollars: bool) -> dict[str, Cell]:
    """Name the columns after the policy's, and how each is filled."""
    columns: dict[str, Cell] = {"liq. at": _taken}
    if wide:
        columns["margin"] = lambda verdict, _: _share(verdict.margin_ratio_at_shock)
    columns["drawdown"] = lambda verdict, _: _percent(verdict.worst_drawdown)
    if in_dollars:
        columns["in USD"] = lambda verdict, _: _in_dollars(verdict)
    columns["unhedged"] = lambda verdict, _: _percent(verdict.largest_unhedged)
    columns["flat"] = lambda verdict, _: _hours(verdict.hours_to_flat)
    if wide:
        columns["back"] = lambda verdict, _: _hours(verdict.hours_to_return)
    columns["exit"] = lambda verdict, _: _percent(verdict.dearest_exit)
    columns["gain"] = lambda verdict, _: _gain(verdict, verdict.gained)
    if wide:
        columns["funding"] = lambda verdict, _: _gain(verdict, verdict.parts["funding"])
        columns["basis"] = lambda verdict, _: _gain(verdict, verdict.parts["basis"])
        columns["costs"] = lambda verdict, _: _gain(
            verdict, sum(verdict.parts[part] for part in ("fees", "slippage", "borrow"))
        )
        columns["liq."] = lambda verdict, _: _gain(verdict, verdict.parts["liquidation"])
    return columns


def _taken(verdict: Verdict, shock_ms: int) -> str:
    if verdict.liquidated_at_ms is None:
        return "[yellow]ADL[/yellow]" if verdict.deleveraged else formats.NONE
    return f"[red]{(verdict.liquidated_at_ms - shock_ms) / HOUR_MS:g}[/red]"


def _gain(verdict: Verdict, quote: float) -> str:
    return _percent(quote / verdict.equity_at_shock, signed=True)


def _share(ratio: float | None) -> str:
    return formats.NONE if ratio is None else f"{100.0 * ratio:.0f}"


def _in_dollars(verdict: Verdict) -> str:
    return _percent(verdict.worst_drawdown_usd) if in_dollars(verdict) else ""


def _percent(share: float, *, signed: bool = False) -> str:
    return formats.format_percent(share, signed=signed).removesuffix(f"{formats.NARROW}%")


def _hours(hours: float | None) -> str:
    return formats.NONE if hours is None else f"{hours:g}"
