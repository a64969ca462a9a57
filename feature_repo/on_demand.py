"""What a feature means for one position: computed when asked for, since only the asker knows the position."""

import inspect
from collections.abc import Mapping
from typing import Any

from feast import FeatureView, Field, OnDemandFeatureView, RequestSource
from feast.transformation.python_transformation import PythonTransformation
from feast.types import Float64

from carryflow.features.spec import FeatureSpec
from feature_repo import position_view

CARRY = "carry_24h_apr"
"""The feature that a position's carry is read from: a day's settled funding, a year; positive pays shorts."""


def position_carry(inputs: Mapping[str, list[Any]]) -> dict[str, list[float | None]]:
    """Say what each position earns in a year by the last day's funding, as a fraction of all capital.

    Inputs and sign are those of `features.carry.position_carry_apr`. Null where any of them is.

    >>> position_carry({"position": [0.5, 1.0], "carry_24h_apr": [0.2, None], "spot_share": [0.5, 0.5]})
    {'position_carry_apr': [0.05, None]}
    """
    # Feast runs the text of this function by itself: it knows no name around it
    from carryflow.features.carry import position_carry_apr

    rows = zip(inputs["position"], inputs["carry_24h_apr"], inputs["spot_share"], strict=True)
    return {
        "position_carry_apr": [
            None if None in (position, carry, share) else position_carry_apr(position, carry, share)
            for position, carry, share in rows
        ]
    }


def carry_position(features: FeatureView, request: RequestSource, spec: FeatureSpec) -> OnDemandFeatureView:
    """Give the yearly carry of a stated position, in Python mode: pandas costs 2 ms a request more."""
    return OnDemandFeatureView(
        name=position_view(spec.hash),
        description="Yearly carry of the asker's position by the last day's funding, a fraction of capital",
        sources=[features, request],
        schema=[Field(name="position_carry_apr", dtype=Float64)],
        feature_transformation=PythonTransformation(
            udf=position_carry, udf_string=inspect.getsource(position_carry)
        ),
        mode="python",
    )
