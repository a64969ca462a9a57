"""One local Ray for all tests that learn: it takes ten seconds to start."""

from collections.abc import Iterator

import pytest


@pytest.fixture(scope="session")
def ray() -> Iterator[None]:
    from carryflow.training.hyperparameters import TrainSettings
    from carryflow.training.ppo import ray_cluster

    with ray_cluster(TrainSettings()):
        yield
