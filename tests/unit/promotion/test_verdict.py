"""The verdict, criterion by criterion: the table of what stops a challenger and what does not."""

from collections.abc import Callable

import pytest

from carryflow.core.errors import RegistryError
from carryflow.evaluation.evidence import Evidence
from carryflow.evaluation.metrics import Sharpe
from carryflow.promotion.verdict import Criterion, PromotionSettings, judge

EvidenceMaker = Callable[..., Evidence]
NOW_MS = 1_000 * 86_400_000
CHAMPION, OTHER, OWN = "c" * 16, "d" * 16, "b" * 16
SETTINGS = PromotionSettings()


def test_a_sound_challenger_passes_every_criterion_and_each_is_said(make_evidence: EvidenceMaker) -> None:
    verdict = judge(make_evidence(), None, SETTINGS, now_ms=NOW_MS)
    assert verdict.promote
    assert [reason.criterion for reason in verdict.reasons] == list(Criterion)
    assert all(reason.words and reason.passed for reason in verdict.reasons)
    assert verdict.objections == ()
    assert "passes all 7 criteria" in verdict.words


@pytest.mark.parametrize(
    ("changes", "expected", "words"),
    [
        ({"gated": {"liquidations": 1}}, {Criterion.LIQUIDATIONS}, "1 liquidations, allowed 0"),
        ({"gated": {"max_drawdown": 0.051}}, {Criterion.DRAWDOWN}, "drawdown 5.10%, allowed 5.00%"),
        ({"gated": {"sharpe_weekly": Sharpe(-0.1, 2.0, 6)}}, {Criterion.SHARPE_WEEKLY}, "-0.10 ± 2.00"),
        ({"gated": {"sharpe_weekly": None}}, {Criterion.SHARPE_WEEKLY}, "undefined on 1095 hours"),
        ({"expires_in_days": -0.5}, {Criterion.EXPIRY}, "expires in -0.5 days"),
        (
            {"returns": {"gated": -0.01}},
            {Criterion.NET_RETURN, Criterion.BASELINE},
            "net return -1.00% a year",
        ),
        (
            {"returns": {"gated": 0.0}},
            {Criterion.NET_RETURN, Criterion.BASELINE},
            "must exceed flat's +0.00%",
        ),
    ],
    ids=["liquidated", "drawdown", "sharpe", "no sharpe", "expired", "loses", "earns nothing"],
)
def test_each_failing_stops_the_challenger_by_its_own_name(
    make_evidence: EvidenceMaker, changes: dict, expected: set[Criterion], words: str
) -> None:
    verdict = judge(make_evidence(**changes), None, SETTINGS, now_ms=NOW_MS)
    assert not verdict.promote
    assert {reason.criterion for reason in verdict.objections} == expected
    assert words in verdict.words


@pytest.mark.parametrize(
    ("changes", "settings"),
    [
        ({"gated": {"max_drawdown": 0.05}}, {}),
        ({"gated": {"sharpe_weekly": Sharpe(1.5, 2.0, 6)}}, {"min_sharpe_weekly": 1.5}),
    ],
    ids=["drawdown", "sharpe"],
)
def test_what_is_exactly_at_its_bound_passes(
    make_evidence: EvidenceMaker, changes: dict, settings: dict
) -> None:
    assert judge(make_evidence(**changes), None, PromotionSettings(**settings), now_ms=NOW_MS).promote


def test_a_bundle_expires_at_its_instant_and_not_after_it(make_evidence: EvidenceMaker) -> None:
    evidence = make_evidence(expires_in_days=1.0)
    assert judge(evidence, None, SETTINGS, now_ms=evidence.expires_at_ms - 1).promote
    assert not judge(evidence, None, SETTINGS, now_ms=evidence.expires_at_ms).promote


@pytest.mark.parametrize(("hedged", "passes"), [(0.09, True), (0.10, False), (0.11, False)])
def test_a_policy_that_must_be_beaten_must_be_exceeded(
    make_evidence: EvidenceMaker, hedged: float, passes: bool
) -> None:
    settings = PromotionSettings(must_beat=("flat", "always_hedged"))
    verdict = judge(make_evidence(returns={"always_hedged": hedged}), None, settings, now_ms=NOW_MS)
    assert verdict.promote is passes
    assert [reason.threshold for reason in verdict.reasons if reason.criterion is Criterion.BASELINE] == [
        0.0,
        hedged,
    ]


@pytest.mark.parametrize(
    ("champion_now", "beside", "champion_apr", "refused", "slack", "passes", "words"),
    [
        (None, None, None, None, 0.0, True, "no champion yet"),
        (OWN, None, None, None, 0.0, True, "it is the champion"),
        (CHAMPION, CHAMPION, 0.09, None, 0.0, True, "less slack +9.00%"),
        (CHAMPION, CHAMPION, 0.10, None, 0.0, True, "less slack +10.00%"),
        (CHAMPION, CHAMPION, 0.11, None, 0.0, False, "less slack +11.00%"),
        (CHAMPION, CHAMPION, 0.11, None, 0.02, True, "less slack +9.00%"),
        (CHAMPION, CHAMPION, None, "made for another spec", 0.0, True, "made for another spec"),
        (CHAMPION, None, None, None, 0.0, False, f"now it is {CHAMPION}; evaluate again"),
        (CHAMPION, OTHER, 0.01, None, 0.0, False, f"beside champion {OTHER}"),
    ],
)
def test_the_champion_is_only_followed_by_one_that_is_not_worse_on_the_same_hours(
    make_evidence: EvidenceMaker,
    champion_now: str | None,
    beside: str | None,
    champion_apr: float | None,
    refused: str | None,
    slack: float,
    passes: bool,
    words: str,
) -> None:
    returns = {} if champion_apr is None else {"champion": champion_apr}
    evidence = make_evidence(returns=returns, champion_hash=beside, champion_refused=refused)
    settings = PromotionSettings(champion_slack_apr=slack)
    verdict = judge(evidence, champion_now, settings, now_ms=NOW_MS)
    assert verdict.promote is passes
    (reason,) = (reason for reason in verdict.reasons if reason.criterion is Criterion.CHAMPION)
    assert reason.passed is passes
    assert words in reason.words


def test_a_rival_that_was_never_scored_is_an_error_and_not_a_pass(make_evidence: EvidenceMaker) -> None:
    settings = PromotionSettings(must_beat=("buy_and_hold",))
    with pytest.raises(RegistryError, match="does not score 'buy_and_hold'"):
        judge(make_evidence(), None, settings, now_ms=NOW_MS)
