"""What speaks for a bundle, and what speaks against the data that it was trained on."""

from typing import NamedTuple

from kfp import dsl

from components.images import PIPELINE_IMAGE


@dsl.component(base_image=PIPELINE_IMAGE, install_kfp_package=False)
def check_drift(
    code: str, dataset: dsl.Input[dsl.Dataset], drift: str, report: dsl.Output[dsl.HTML]
) -> NamedTuple("Drift", [("share", float)]):
    """Compare the test hours with the training hours and return the share of features that drifted."""
    from pathlib import Path
    from typing import NamedTuple

    from carryflow.monitoring.drift import DriftSettings, check_drift
    from carryflow.monitoring.progress import narrate

    found = check_drift(Path(dataset.path), Path(report.path), DriftSettings.model_validate_json(drift))
    narrate(f"{found.share:.0%} of the features drifted: {', '.join(found.columns) or 'none'}")
    report.metadata.update(code=code)
    return NamedTuple("Drift", [("share", float)])(found.share)


@dsl.component(base_image=PIPELINE_IMAGE, install_kfp_package=False)
def evaluate(
    home: str,
    dataset: dsl.Input[dsl.Dataset],
    bundle: dsl.Input[dsl.Model],
    env: str,
    evaluation: str,
    evidence: dsl.Output[dsl.Artifact],
    report: dsl.Output[dsl.HTML],
) -> None:
    """Backtest the bundle, the champion and the baselines on the hours after the training."""
    import shutil
    from pathlib import Path

    from carryflow.env.settings import EnvSettings
    from carryflow.evaluation.evidence import REPORT_FILE, EvaluationSettings, evaluate
    from carryflow.monitoring.progress import narrate
    from carryflow.promotion.registry import Alias, Registry

    registry = Registry(Path(home, "registry"))
    champion = registry.resolve(Alias.CHAMPION)
    evaluate(
        Path(dataset.path),
        Path(bundle.path),
        Path(evidence.path),
        EnvSettings.model_validate_json(env),
        EvaluationSettings.model_validate_json(evaluation),
        champion_dir=None if champion is None else registry.bundle_dir(champion),
        curves={curve.stem: curve for curve in Path(bundle.path, "curves").glob("*.json")},
        progress=narrate,
    )
    shutil.copyfile(Path(evidence.path, REPORT_FILE), report.path)
