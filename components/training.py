"""Four sub-agents, then the gate over them."""

from kfp import dsl

from components.images import TRAINING_IMAGE


@dsl.component(base_image=TRAINING_IMAGE, install_kfp_package=False)
def train_expert(
    code: str,
    dataset: dsl.Input[dsl.Dataset],
    expert: str,
    env: str,
    train: str,
    seed: int,
    policy: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Train one sub-agent by PPO on the training hours."""
    import json
    from pathlib import Path

    from carryflow.env.settings import EnvSettings
    from carryflow.monitoring.progress import narrate
    from carryflow.training.hyperparameters import TrainSettings
    from carryflow.training.train import train_expert

    learned = train_expert(
        Path(dataset.path),
        expert,
        Path(policy.path),
        EnvSettings.model_validate_json(env),
        TrainSettings.model_validate_json(train),
        seed,
        progress=narrate,
    )
    policy.metadata.update(expert=expert, code=code)
    for name, value in learned.items():
        metrics.log_metric(name, value)
    Path(metrics.path).write_text(json.dumps(learned))


@dsl.component(base_image=TRAINING_IMAGE, install_kfp_package=False)
def train_gate(
    code: str,
    dataset: dsl.Input[dsl.Dataset],
    experts: dsl.Input[list[dsl.Model]],
    env: str,
    train: str,
    seed: int,
    created_at_ms: int,
    bundle: dsl.Output[dsl.Model],
    metrics: dsl.Output[dsl.Metrics],
) -> None:
    """Train the gate over the frozen sub-agents and bind all five into one bundle."""
    import json
    from pathlib import Path

    from carryflow.env.settings import EnvSettings
    from carryflow.monitoring.progress import narrate
    from carryflow.training.hyperparameters import TrainSettings
    from carryflow.training.train import train_gate

    learned = train_gate(
        Path(dataset.path),
        [Path(expert.path) for expert in experts],
        Path(bundle.path),
        EnvSettings.model_validate_json(env),
        TrainSettings.model_validate_json(train),
        seed,
        created_at_ms=created_at_ms,
        lineage={"code": code},
        progress=narrate,
    )
    for name, value in learned.items():
        metrics.log_metric(name, value)
    Path(metrics.path).write_text(json.dumps(learned))
