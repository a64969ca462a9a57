"""The promotion as the pipeline does it: register, judge, and move the champion or leave it."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from carryflow.core.errors import RegistryError, SchemaMismatchError
from carryflow.evaluation.evidence import Evidence
from carryflow.features.spec import FeatureSpec
from carryflow.promotion.champion import Outcome, promote
from carryflow.promotion.registry import Alias, Registry
from carryflow.promotion.verdict import Criterion, PromotionSettings

NOW_MS = 1_000 * 86_400_000
Runner = Callable[..., Outcome]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "registry"


@pytest.fixture
def run(
    tmp_path: Path,
    root: Path,
    make_bundle: Callable[[Path, int], str],
    make_evidence: Callable[..., Evidence],
) -> Runner:
    """Train (by seed), evaluate (by decree) and promote."""

    def once(
        seed: int,
        now_ms: int = NOW_MS,
        make_servable: Callable[[str, FeatureSpec], object] | None = None,
        **evidence: object,
    ) -> Outcome:
        folder = tmp_path / f"run-{seed}"
        bundle_hash = make_bundle(folder / "bundle", seed)
        replace(make_evidence(**evidence), bundle_hash=bundle_hash).write(folder / "evidence")
        return promote(
            root,
            folder / "bundle",
            folder / "evidence",
            PromotionSettings(),
            now_ms=now_ms,
            make_servable=make_servable,
        )

    return once


def test_the_first_that_passes_becomes_champion(run: Runner, root: Path) -> None:
    outcome = run(seed=1)
    registry = Registry(root)
    assert outcome.verdict.promote
    assert (outcome.champion_before, outcome.champion_after) == (None, outcome.version)
    assert registry.resolve(Alias.CHAMPION) == registry.resolve(Alias.CHALLENGER) == outcome.version
    registry.verify(outcome.version)


def test_what_a_version_reads_is_there_before_an_alias_names_it(run: Runner, root: Path) -> None:
    version = run(seed=1, gated={"liquidations": 2}).version
    seen: list[tuple[str, str | None]] = []

    def look(told: str, spec: FeatureSpec) -> None:
        seen.append((told, Registry(root).resolve(Alias.CHAMPION)))
        assert spec.lookback == 4

    assert run(seed=2, make_servable=look).champion_after == seen[0][0] != version
    assert seen[0][1] is None


def test_the_first_that_fails_leaves_no_champion_and_its_reasons_are_kept(run: Runner, root: Path) -> None:
    outcome = run(seed=1, gated={"liquidations": 2})
    registry = Registry(root)
    assert registry.resolve(Alias.CHAMPION) is None
    assert registry.resolve(Alias.CHALLENGER) == outcome.version
    assert registry.verdict(outcome.version) == outcome.verdict
    assert [reason.criterion for reason in outcome.verdict.objections] == [Criterion.LIQUIDATIONS]


def test_a_better_one_follows_and_a_worse_one_does_not(run: Runner, root: Path) -> None:
    first = run(seed=1)
    champion_hash = first.verdict.bundle_hash
    worse = run(seed=2, returns={"gated": 0.10, "champion": 0.12}, champion_hash=champion_hash)
    assert not worse.verdict.promote
    assert worse.champion_after == first.version
    better = run(seed=3, returns={"gated": 0.10, "champion": 0.08}, champion_hash=champion_hash)
    assert better.verdict.promote
    assert (better.champion_before, better.champion_after) == (first.version, better.version)
    moves = [move.version for move in Registry(root).history() if move.alias == "champion"]
    assert moves == [first.version, better.version]


def test_evidence_that_stood_beside_another_champion_does_not_count(run: Runner) -> None:
    first = run(seed=1)
    stale = run(seed=2)  # evaluated when there was no champion
    assert [reason.criterion for reason in stale.verdict.objections] == [Criterion.CHAMPION]
    assert stale.champion_after == first.version


def test_doing_it_again_changes_nothing_but_the_time_of_the_verdict(run: Runner, root: Path) -> None:
    first, again = run(seed=1), run(seed=1, now_ms=NOW_MS + 1)
    assert replace(again, champion_before=None, judged_at_ms=NOW_MS, verdict=first.verdict) == first
    assert again.verdict.promote
    registry = Registry(root)
    assert registry.versions() == (first.version,)
    assert len(registry.history()) == 2  # challenger, champion: once each


def test_new_evidence_on_the_champion_is_kept_but_makes_no_new_champion(run: Runner, root: Path) -> None:
    first = run(seed=1)
    again = run(seed=1, returns={"gated": 0.2})
    assert again.verdict.promote
    assert again.version != first.version
    assert again.champion_after == first.version
    assert Registry(root).versions() == tuple(sorted((first.version, again.version)))


def test_the_verdict_is_written_with_every_reason_in_words(run: Runner, root: Path) -> None:
    outcome = run(seed=1)
    stored = json.loads((root / "verdicts" / f"{outcome.version}.json").read_text())
    assert stored == json.loads(json.dumps(outcome.to_json()))
    assert stored["verdict"]["promote"] is True
    assert [reason["criterion"] for reason in stored["verdict"]["reasons"]] == [
        one.value for one in Criterion
    ]
    assert all(reason["words"] for reason in stored["verdict"]["reasons"])


def test_evidence_on_another_bundle_is_refused_and_nothing_is_registered(
    run: Runner, root: Path, tmp_path: Path, make_bundle: Callable[[Path, int], str]
) -> None:
    run(seed=1)
    other = make_bundle(tmp_path / "other", 2)
    with pytest.raises(RegistryError, match=other):
        promote(root, tmp_path / "other", tmp_path / "run-1" / "evidence", PromotionSettings(), now_ms=NOW_MS)
    assert len(Registry(root).versions()) == 1


def test_a_bundle_whose_weights_were_changed_is_refused(run: Runner, root: Path, tmp_path: Path) -> None:
    run(seed=1)
    bundle = tmp_path / "run-1" / "bundle"
    weights = bundle / "weights.safetensors"
    weights.write_bytes(weights.read_bytes()[:-4] + b"\0\0\0\1")
    with pytest.raises(SchemaMismatchError, match="SHA-256"):
        promote(root, bundle, tmp_path / "run-1" / "evidence", PromotionSettings(), now_ms=NOW_MS)
