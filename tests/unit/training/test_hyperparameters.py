import subprocess
import sys

import pytest
from pydantic import ValidationError

from carryflow.training.hyperparameters import TrainSettings


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"minibatch_steps": 20_000}, "minibatch_steps=20000 must not exceed batch_steps=16384"),
        ({"initial_std": 0.05}, "final_std=0.1 must not exceed initial_std=0.05"),
        ({"runners": 3}, "accounts=128 must be a multiple of runners=3"),
        ({"gamma": 1.0}, "less than 1"),
        ({"gate": {"temperature": 0.0}}, "greater than 0"),
        ({"speed": 2}, "Extra inputs are not permitted"),
    ],
)
def test_settings_that_do_not_fit_together_are_refused(wrong: dict[str, object], said: str) -> None:
    with pytest.raises(ValidationError, match=said):
        TrainSettings.model_validate(wrong)


def test_reading_settings_loads_neither_torch_nor_ray() -> None:
    script = (
        "import sys, carryflow.training.hyperparameters\nprint(sorted({'torch', 'ray'} & set(sys.modules)))"
    )
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "[]"
