"""The knobs of learning; light, so that reading settings loads neither torch nor ray."""

from typing import Annotated

from pydantic import Field, model_validator

from carryflow.core.section import Section

Width = Annotated[int, Field(ge=1, le=1024)]


class GateSettings(Section):
    """Steer the training of the gate over the frozen experts."""

    iterations: Annotated[int, Field(ge=1, description="rounds of sampling and learning")] = 30
    hidden: Annotated[tuple[Width, ...], Field(description="widths of the gate's hidden layers")] = (32,)
    temperature: Annotated[
        float, Field(gt=0, description="divides the gate's logits; towards 0 the top expert decides alone")
    ] = 1.0
    entropy_coeff: Annotated[
        float, Field(ge=0, description="bonus in the loss per nat of the gate's entropy")
    ] = 0.003
    load_balance_coeff: Annotated[
        float,
        Field(ge=0, description="weight in the loss of the load-balancing term, which is 1 at uniform load"),
    ] = 0.003


class TrainSettings(Section):
    """Steer PPO, for the experts and the gate alike."""

    iterations: Annotated[int, Field(ge=1, description="rounds of sampling and learning of each expert")] = 50
    hidden: Annotated[tuple[Width, ...], Field(description="widths of an expert's hidden layers")] = (32, 32)
    accounts: Annotated[int, Field(ge=1, description="accounts that trade side by side while sampling")] = 128
    batch_steps: Annotated[int, Field(ge=64, description="account hours sampled in each iteration")] = 16_384
    minibatch_steps: Annotated[int, Field(ge=16, description="account hours in one gradient step")] = 4_096
    epochs: Annotated[int, Field(ge=1, description="passes over the hours of one iteration")] = 6
    learning_rate: Annotated[
        float,
        Field(gt=0, description="Adam's step at the start; it falls in a line to a hundredth at the end"),
    ] = 2e-3
    gamma: Annotated[
        float,
        Field(gt=0, lt=1, description="discount per hour; 0.997 looks two weeks ahead, what costs ask for"),
    ] = 0.997
    gae_lambda: Annotated[
        float, Field(ge=0, le=1, description="how far advantages trust sampled rewards over the critic")
    ] = 0.9
    clip: Annotated[
        float, Field(gt=0, description="PPO's bound on the change of an action's probability")
    ] = 0.2
    initial_std: Annotated[
        float, Field(gt=0, description="standard deviation of actions at the start (fraction of capital)")
    ] = 0.3
    final_std: Annotated[
        float, Field(gt=0, description="the same at the end; noise beyond the hysteresis trades and costs")
    ] = 0.1
    value_scale_bp: Annotated[
        float,
        Field(gt=0, description="size of a typical discounted return, the critic's unit (bp of capital)"),
    ] = 10.0
    critic_hidden: Annotated[tuple[Width, ...], Field(description="widths of the critic's hidden layers")] = (
        64,
        64,
    )
    validity_days: Annotated[
        float, Field(gt=0, description="how long after its creation a bundle may open positions (days)")
    ] = 14.0
    runners: Annotated[
        int, Field(ge=0, description="remote sampling processes; 0 samples in the learner's own")
    ] = 0
    ray_address: Annotated[
        str, Field(min_length=1, description="Ray cluster to join; 'local' starts one of its own")
    ] = "local"
    gate: GateSettings = GateSettings()

    @model_validator(mode="after")
    def _fit_together(self) -> "TrainSettings":
        if self.minibatch_steps > self.batch_steps:
            raise ValueError(
                f"minibatch_steps={self.minibatch_steps} must not exceed batch_steps={self.batch_steps}"
            )
        if self.final_std > self.initial_std:
            raise ValueError(f"final_std={self.final_std} must not exceed initial_std={self.initial_std}")
        if self.accounts % max(self.runners, 1):
            raise ValueError(f"accounts={self.accounts} must be a multiple of runners={self.runners}")
        return self
