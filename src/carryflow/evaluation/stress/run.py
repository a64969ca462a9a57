"""The stress test: any policy lives through a scenario, hour by hour, and a verdict says how it came out."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import polars as pl

from carryflow.core.errors import MarketDataError
from carryflow.env.stress.ground import Ground
from carryflow.env.stress.market import StressMarket
from carryflow.env.stress.scenario import Scenario
from carryflow.env.tape import MarketTape
from carryflow.evaluation.stress.play import Player, play
from carryflow.evaluation.stress.verdict import Verdict, judge
from carryflow.features.frame import WARM_UP_HOURS
from carryflow.market.data import DataSettings
from carryflow.market.timeframe import HOUR_MS

LEAD_IN_HOURS = 97
"""How long a policy looks on before the shock, so that the shock meets it at its target (four days)."""


@dataclass(frozen=True, slots=True, eq=False)
class Outcome:
    """Hold what one scenario did: to the market, and to each policy.

    Attributes:
        scenario: as it was played.
        ticker: the coin.
        shock_ms: instant of the shock (UTC, milliseconds).
        market: hour (since the shock), timestamp, spot, perp, mark, mark_high, basis_bp, tradable,
            quote_usd, and depth (quote value within 10 bp, thinner leg), one row a decision.
        traces: by policy, what `play` gives.
        verdicts: one a policy, in the order of play.

    """

    scenario: Scenario
    ticker: str
    shock_ms: int
    market: pl.DataFrame
    traces: Mapping[str, pl.DataFrame]
    verdicts: tuple[Verdict, ...]


def stress(
    scenarios: Sequence[Scenario],
    players: Sequence[Player],
    ground: Ground,
    data: DataSettings,
    progress: Callable[[str], None] = lambda _: None,
) -> list[Outcome]:
    """Let every policy live through every scenario.

    Raises:
        MarketDataError: the recorded hours do not reach far enough around the shock, or end before the
            scenario has shown what it does.
        CoverageError: hours, marks or settlements are missing.

    """
    outcomes = []
    for scenario in scenarios:
        progress(f"{ground.ticker} {scenario.name}")
        lookback = max(player.spec.lookback for player in players)
        before = -(-(WARM_UP_HOURS + lookback + LEAD_IN_HOURS) // 24) * 24 + 9
        market = scenario.strike(ground.market(scenario.seed, before))
        outcomes.append(_outcome(scenario, market, players, data))
    return outcomes


def _outcome(
    scenario: Scenario, market: StressMarket, players: Sequence[Player], data: DataSettings
) -> Outcome:
    start_ms = market.shock_ms - LEAD_IN_HOURS * HOUR_MS
    seen: dict[tuple[str, str], MarketTape] = {}
    traces, verdicts = {}, []
    for player in players:
        key = (player.spec.hash, str(player.scaler.to_json()))
        if key not in seen:
            whole = market.tape(player.spec, player.scaler, data, player.env.costs)
            early = (market.shock_ms - int(whole.decision_ms[whole.first])) / HOUR_MS
            if early < LEAD_IN_HOURS:
                raise MarketDataError(
                    f"{market.ticker}: policies look on for {LEAD_IN_HOURS} h before a shock, and can first "
                    f"decide {early:g} h before it; choose a later instant"
                )
            late = (int(whole.decision_ms[-1]) - market.shock_ms) / HOUR_MS
            if late < scenario.shown_hours:
                raise MarketDataError(
                    f"{market.ticker}: {scenario.name} takes {scenario.shown_hours:g} h to show what it does "
                    f"and the hours end {late:g} h after the shock; choose an earlier instant or another "
                    "scenario"
                )
            seen[key] = whole.slice(start_ms, int(whole.decision_ms[-1]) + 1)
        tape = seen[key]
        quote_usd = market.worth(tape.decision_ms)
        traces[player.name] = play(tape, player, market.shock_ms, quote_usd)
        verdicts.append(judge(traces[player.name], scenario.name, market.ticker, player.name))
    return Outcome(scenario, market.ticker, market.shock_ms, _shown(tape, market), traces, tuple(verdicts))


def to_json(outcomes: Sequence[Outcome]) -> list[dict[str, Any]]:
    """Give scenarios with their parameters and verdicts, as JSON holds them."""
    return [
        {
            "scenario": outcome.scenario.name,
            "about": outcome.scenario.about,
            "source": outcome.scenario.source,
            "caution": outcome.scenario.caution,
            "parameters": outcome.scenario.model_dump(mode="json"),
            "ticker": outcome.ticker,
            "shock_ms": outcome.shock_ms,
            "verdicts": [asdict(verdict) | {"parts": dict(verdict.parts)} for verdict in outcome.verdicts],
        }
        for outcome in outcomes
    ]


def _shown(tape: MarketTape, market: StressMarket) -> pl.DataFrame:
    """Lay the market out hour by hour, as `Outcome.market` says."""
    rows = slice(tape.first, None)
    depth = None if tape.liquidity is None else tape.liquidity.depth_quote[rows].min(axis=1)
    decision_ms = tape.decision_ms[rows]
    spot, perp = tape.spot[rows], tape.perp[rows]
    return pl.DataFrame(
        {
            "hour": (decision_ms - market.shock_ms) / HOUR_MS,
            "timestamp": pl.Series(decision_ms).cast(pl.Datetime("ms", "UTC")),
            "spot": spot,
            "perp": perp,
            "mark": tape.mark[rows],
            "mark_high": (tape.mark if tape.mark_high is None else tape.mark_high)[rows],
            "basis_bp": 1e4 * (perp / spot - 1.0),
            "tradable": tape.tradable[rows],
            "quote_usd": market.worth(decision_ms),
            "depth": np.full(len(spot), np.nan) if depth is None else depth,
        }
    )
