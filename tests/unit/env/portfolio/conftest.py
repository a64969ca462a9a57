"""Markets for the portfolio's tests."""

from collections.abc import Callable

import numpy as np
import pytest

from carryflow.env.check.markets import wild_tape
from carryflow.env.tape import MarketTape
from carryflow.features.spec import FeatureSpec

SPEC = FeatureSpec(("first", "second"), 3)

Wild = Callable[..., list[MarketTape]]


@pytest.fixture
def wild() -> Wild:
    """Make the markets of some coins, in which prices jump and venues halt; `calm` ones liquidate nobody."""

    def make(count: int, rows: int = 200, seed: int = 0, *, calm: bool = False) -> list[MarketTape]:
        generator = np.random.default_rng(seed)
        return [wild_tape(SPEC, rows, generator, ticker=f"C{k}", calm=calm) for k in range(count)]

    return make
