"""The promotion of a challenger: registered, judged, and made champion if the verdict says so."""

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from carryflow.core.errors import RegistryError
from carryflow.evaluation.evidence import Evidence
from carryflow.features.spec import FeatureSpec
from carryflow.promotion.registry import Alias, Registry
from carryflow.promotion.verdict import PromotionSettings, Verdict, judge


@dataclass(frozen=True, slots=True)
class Outcome:
    """Hold what became of a challenger.

    Attributes:
        version: the id under which it is registered.
        verdict: the verdict on it.
        champion_before: the version that was champion when it was judged, None where there was none.
        champion_after: the version that is champion now.
        judged_at_ms: when (UTC, milliseconds).
    """

    version: str
    verdict: Verdict
    champion_before: str | None
    champion_after: str | None
    judged_at_ms: int

    def to_json(self) -> Mapping[str, Any]:
        """Give the outcome as an object that JSON can hold."""
        return asdict(self)


def promote(
    registry_root: Path,
    bundle_dir: Path,
    evidence_dir: Path,
    settings: PromotionSettings,
    *,
    now_ms: int,
    make_servable: Callable[[str, FeatureSpec], object] | None = None,
) -> Outcome:
    """Register a bundle with its evidence as challenger, judge it, and move the champion if it passes.

    The verdict with its reasons is left in `verdicts/<version>.json` of the registry. Doing it again with the
    same files changes nothing but the time of the verdict, and so makes good what a killed process left.

    Args:
        registry_root: the registry's folder.
        bundle_dir: the bundle.
        evidence_dir: the evidence on this bundle.
        settings: what it must show.
        now_ms: the time (UTC, milliseconds).
        make_servable: is given the version and its feature spec before an alias names it, so that whoever
            follows the alias finds what the version reads; what it raises leaves the aliases where they are.

    Raises:
        SchemaMismatchError: the bundle or the evidence is missing or broken.
        RegistryError: the evidence is on another bundle, or does not score what the settings name.
    """
    from carryflow.agents.bundle import load_bundle  # torch: too slow for every command that reads settings

    bundle, evidence = load_bundle(bundle_dir), Evidence.read(evidence_dir)
    if bundle.hash != evidence.bundle_hash:
        raise RegistryError(
            f"the evidence in {evidence_dir} is on bundle {evidence.bundle_hash}, {bundle_dir} holds "
            f"{bundle.hash}; evaluate that one"
        )
    registry = Registry(registry_root)
    before = registry.resolve(Alias.CHAMPION)
    champion_hash = None if before is None else Evidence.read(registry.evidence_dir(before)).bundle_hash
    verdict = judge(evidence, champion_hash, settings, now_ms=now_ms)
    version = registry.register(bundle_dir, evidence_dir)
    if make_servable is not None:
        make_servable(version, bundle.spec)
    registry.assign(Alias.CHALLENGER, version, at_ms=now_ms, why="registered to be judged")
    if verdict.promote and champion_hash != bundle.hash:  # new evidence does not make a new champion
        registry.assign(Alias.CHAMPION, version, at_ms=now_ms, why=verdict.words)
    outcome = Outcome(version, verdict, before, registry.resolve(Alias.CHAMPION), now_ms)
    registry.record_verdict(version, outcome.to_json())
    return outcome
