"""The verdict, and the champion that it moves."""

from typing import NamedTuple

from kfp import dsl

from components.images import PIPELINE_IMAGE


@dsl.component(base_image=PIPELINE_IMAGE, install_kfp_package=False)
def promote(
    home: str,
    bundle: dsl.Input[dsl.Model],
    evidence: dsl.Input[dsl.Artifact],
    promotion: str,
    now_ms: int,
) -> NamedTuple("Outcome", [("version", str), ("promoted", bool)]):
    """Register the bundle as challenger, judge it by its evidence, and make it champion if it passes.

    Champion or not, the version gets a feature service of its own, before an alias names it: a predictor that
    follows the alias finds it, and a challenger answers as a shadow.
    """
    from functools import partial
    from pathlib import Path
    from typing import NamedTuple

    from carryflow.monitoring.progress import narrate
    from carryflow.promotion.champion import promote
    from carryflow.promotion.verdict import PromotionSettings
    from carryflow.store.feast import serve_version

    judged = promote(
        Path(home, "registry"),
        Path(bundle.path),
        Path(evidence.path),
        PromotionSettings.model_validate_json(promotion),
        now_ms=now_ms,
        make_servable=partial(serve_version, Path(home)),
    )
    narrate(judged.verdict.words)
    outcome = (judged.version, judged.verdict.promote)
    return NamedTuple("Outcome", [("version", str), ("promoted", bool)])(*outcome)
