"""The contest: who trades the unseen hours, each with its own eyes on them."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import polars as pl

from carryflow.env.settings import EnvSettings
from carryflow.env.tape import MarketTape, tape_of
from carryflow.evaluation import baselines
from carryflow.evaluation.backtest import backtest
from carryflow.evaluation.baselines import Policy, ThresholdCarry, UngatedMean, stay_flat, stay_hedged
from carryflow.features.dataset import Dataset
from carryflow.features.scaling import Scaler

if TYPE_CHECKING:
    from carryflow.agents.bundle import Bundle
    from carryflow.evaluation.evidence import EvaluationSettings


@dataclass(frozen=True, slots=True)
class Contender:
    """Hold one policy that takes part.

    Attributes:
        name: the policy's name in the evidence.
        policy: decides on observations.
        scaler: what its observations are scaled with. A bundle brings the one that it was trained with.
        experts: names of its experts, in the order of its gate; none for a policy without.
    """

    name: str
    policy: Policy
    scaler: Scaler
    experts: tuple[str, ...] = ()


def line_up(
    dataset: Dataset, bundle: "Bundle", champion: "Bundle | None", settings: "EvaluationSettings"
) -> Iterator[Contender]:
    """Name all that take part: the bundle, the champion if there is another, and the baselines."""
    own = Scaler.from_json(bundle.scaler)
    yield Contender(baselines.GATED, bundle.decide, own, bundle.experts)
    if champion is not None:
        worn = Scaler.from_json(champion.scaler)
        yield Contender(baselines.CHAMPION, champion.decide, worn, champion.experts)
    yield Contender(baselines.UNGATED_MEAN, UngatedMean(bundle.decide), own)
    threshold = ThresholdCarry(
        dataset.spec, dataset.scaler, settings.carry_enter_apr, settings.carry_exit_apr
    )
    yield Contender(baselines.THRESHOLD_CARRY, threshold, dataset.scaler)
    yield Contender(baselines.ALWAYS_HEDGED, stay_hedged, dataset.scaler)
    yield Contender(baselines.FLAT, stay_flat, dataset.scaler)


def compete(
    contenders: Iterator[Contender], dataset: Dataset, env: EnvSettings, progress: Callable[[str], None]
) -> dict[str, pl.DataFrame]:
    """Let each trade the test part of the dataset; give their ledgers by name."""
    split = dataset.split
    ledgers = {}
    for contender in contenders:
        progress(f"backtesting {contender.name}")
        ledgers[contender.name] = backtest(
            _tapes(dataset, contender.scaler),
            contender.policy,
            env,
            split.test_start_ms,
            split.test_end_ms,
            experts=contender.experts,
        )
    return ledgers


def _tapes(dataset: Dataset, scaler: Scaler) -> Sequence[MarketTape]:
    """Give every ticker's tape as the scaler shows it."""
    return [tape_of(dataset, ticker, scaler) for ticker in dataset.tickers]
