"""The verdict on a challenger: criteria, each with its value, its threshold and a sentence that says it."""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated

from pydantic import Field

from carryflow.core.errors import RegistryError
from carryflow.core.section import Section
from carryflow.evaluation.baselines import CHAMPION, GATED
from carryflow.evaluation.evidence import Evidence
from carryflow.evaluation.metrics import Metrics


class PromotionSettings(Section):
    """Say what a challenger must show before it becomes the champion."""

    max_drawdown: Annotated[
        float, Field(gt=0.0, le=1.0, description="Deepest drawdown allowed in the test (fraction of peak)")
    ] = 0.05
    must_beat: Annotated[
        tuple[str, ...],
        Field(description="Policies whose net return the challenger must exceed, by their names"),
    ] = ("flat",)
    min_sharpe_weekly: Annotated[
        float, Field(ge=-20.0, le=20.0, description="Least Sharpe ratio of weekly returns (annualised)")
    ] = 0.0
    champion_slack_apr: Annotated[
        float,
        Field(
            ge=0.0,
            le=1.0,
            description="How far below the champion's net return is still not worse (1/year)",
        ),
    ] = 0.0


_RETURN = "net return {value:+.2%} a year, must exceed"


class Criterion(StrEnum):
    """Name what is judged."""

    LIQUIDATIONS = "liquidations"
    DRAWDOWN = "drawdown"
    NET_RETURN = "net return"
    BASELINE = "baseline"
    SHARPE_WEEKLY = "weekly sharpe"
    CHAMPION = "champion"
    EXPIRY = "expiry"


@dataclass(frozen=True, slots=True)
class Reason:
    """Hold one criterion's outcome.

    Attributes:
        criterion: what was judged.
        value: what the challenger showed, None where there is nothing to show.
        threshold: what it was held against, None where nothing stood against it.
        passed: whether it is enough.
        words: the same as a sentence.
    """

    criterion: Criterion
    value: float | None
    threshold: float | None
    passed: bool
    words: str


@dataclass(frozen=True, slots=True)
class Verdict:
    """Hold the verdict on one bundle.

    Attributes:
        bundle_hash: which bundle was judged.
        promote: whether every criterion is passed.
        reasons: all criteria, passed or not, in the order of judging.
    """

    bundle_hash: str
    promote: bool
    reasons: tuple[Reason, ...]

    @property
    def objections(self) -> tuple[Reason, ...]:
        """Give the criteria that were not passed."""
        return tuple(reason for reason in self.reasons if not reason.passed)

    @property
    def words(self) -> str:
        """Say the verdict in one line."""
        if self.promote:
            return f"bundle {self.bundle_hash} passes all {len(self.reasons)} criteria"
        return f"bundle {self.bundle_hash} fails: " + "; ".join(reason.words for reason in self.objections)


def judge(
    evidence: Evidence, champion_hash: str | None, settings: PromotionSettings, *, now_ms: int
) -> Verdict:
    """Judge a challenger by its evidence.

    Args:
        evidence: what it did on its test hours.
        champion_hash: hash of the bundle that is champion now, None where there is none.
        settings: what it must show.
        now_ms: the time of the verdict (UTC, milliseconds).

    Raises:
        RegistryError: the evidence does not score a policy that the settings name.
    """
    shown = _score(evidence, GATED)
    reasons = (
        _at_most(
            Criterion.LIQUIDATIONS, shown.liquidations, 0, "{value:.0f} liquidations, allowed {limit:.0f}"
        ),
        _at_most(
            Criterion.DRAWDOWN,
            shown.max_drawdown,
            settings.max_drawdown,
            "deepest drawdown {value:.2%}, allowed {limit:.2%}",
        ),
        _above(Criterion.NET_RETURN, shown.return_apr, 0.0, _RETURN + " {limit:.2%}"),
        *_against_baselines(evidence, shown, settings),
        _judge_sharpe(shown, settings),
        _judge_against_champion(evidence, shown, champion_hash, settings),
        _above(
            Criterion.EXPIRY,
            (evidence.expires_at_ms - now_ms) / 86_400_000,
            0.0,
            "expires in {value:.1f} days, must exceed {limit:.0f}",
        ),
    )
    return Verdict(evidence.bundle_hash, all(reason.passed for reason in reasons), reasons)


def _against_baselines(evidence: Evidence, shown: Metrics, settings: PromotionSettings) -> Iterator[Reason]:
    """Hold the net return against each policy that must be beaten."""
    for name in settings.must_beat:
        words = f"{_RETURN} {name}'s {{limit:+.2%}}"
        yield _above(Criterion.BASELINE, shown.return_apr, _score(evidence, name).return_apr, words)


def _judge_sharpe(shown: Metrics, settings: PromotionSettings) -> Reason:
    """Hold the weekly Sharpe ratio against its least; one that is undefined does not pass."""
    weekly, least = shown.sharpe_weekly, settings.min_sharpe_weekly
    if weekly is None:
        words = (
            f"weekly Sharpe undefined on {shown.hours} hours: it needs two whole weeks of varying returns; "
            "trade, or widen the test part"
        )
        return Reason(Criterion.SHARPE_WEEKLY, None, least, passed=False, words=words)
    words = f"weekly Sharpe {weekly.ratio:.2f} ± {weekly.error:.2f}, at least {least:.2f}"
    return Reason(Criterion.SHARPE_WEEKLY, weekly.ratio, least, passed=weekly.ratio >= least, words=words)


def _judge_against_champion(
    evidence: Evidence, shown: Metrics, champion_hash: str | None, settings: PromotionSettings
) -> Reason:
    """Hold the net return against the champion's on the same hours.

    A champion that cannot trade these hours, because the features changed since, cannot be served on them
    either: it does not stand in the way.
    """
    value = shown.return_apr
    if champion_hash is None:
        return Reason(Criterion.CHAMPION, value, None, passed=True, words="there is no champion yet")
    if champion_hash == evidence.bundle_hash:
        return Reason(Criterion.CHAMPION, value, value, passed=True, words="it is the champion")
    if champion_hash != evidence.champion_hash:
        words = (
            f"scored beside champion {evidence.champion_hash or 'none'}, now it is {champion_hash}; "
            "evaluate again"
        )
        return Reason(Criterion.CHAMPION, value, None, passed=False, words=words)
    if evidence.champion_refused is not None:
        words = f"champion {champion_hash} cannot trade these hours: {evidence.champion_refused}"
        return Reason(Criterion.CHAMPION, value, None, passed=True, words=words)
    threshold = _score(evidence, CHAMPION).return_apr - settings.champion_slack_apr
    words = f"net return {value:+.2%} a year, champion's less slack {threshold:+.2%}"
    return Reason(Criterion.CHAMPION, value, threshold, passed=value >= threshold, words=words)


def _at_most(criterion: Criterion, value: float, limit: float, words: str) -> Reason:
    """Pass a value that is at most the limit."""
    return Reason(
        criterion, value, limit, passed=value <= limit, words=words.format(value=value, limit=limit)
    )


def _above(criterion: Criterion, value: float, limit: float, words: str) -> Reason:
    """Pass a value that is above the limit."""
    return Reason(criterion, value, limit, passed=value > limit, words=words.format(value=value, limit=limit))


def _score(evidence: Evidence, name: str) -> Metrics:
    """Give a policy's portfolio metrics; raises as `judge` does."""
    if name not in evidence.policies:
        raise RegistryError(
            f"the evidence on {evidence.bundle_hash} does not score {name!r}; it scores "
            f"{', '.join(evidence.policies)}: name one of those in promotion.must_beat, or evaluate again"
        )
    return evidence.policies[name].portfolio
