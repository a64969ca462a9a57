"""A stress scenario: parameters with units and a source, and a pure function from market to market."""

from abc import abstractmethod
from collections.abc import Iterator
from typing import Annotated, Any, ClassVar, Literal

from pydantic import ConfigDict, Field

from carryflow.core.section import Section
from carryflow.env.stress.market import StressMarket

LONGEST_HOURS = 336
"""Hours after the shock that a play lasts, and hence the longest that anything in it can."""

Hours = Annotated[float, Field(gt=0, le=LONGEST_HOURS)]
Share = Annotated[float, Field(ge=0, le=1)]


class Scenario(Section):
    """Hold one scenario's parameters.

    Attributes:
        name: what a person calls it.
        source: where the parameters come from, and which are set by hand.
        caution: what a reader of its outcome must know beside; empty if nothing.
        shown_hours: how long after the shock there is something to see (hours).
        shows: what of the market is to be seen beside prices.

    """

    name: ClassVar[str]
    source: ClassVar[str]
    caution: ClassVar[str] = ""
    shown_hours: ClassVar[float] = 48.0
    shows: ClassVar[Literal["basis", "depth", "quote"]] = "basis"

    model_config = ConfigDict(strict=True)

    seed: int = Field(7, ge=0, description="seed of all that is drawn: noise, and the calm market, if struck")

    @property
    def about(self) -> str:
        """Say what happens, in a line."""
        return (type(self).__doc__ or "").strip().splitlines()[0]

    @property
    def parameters(self) -> Iterator[tuple[str, Any, str]]:
        """Yield each parameter's name, value, and meaning with its unit."""
        for name, field in type(self).model_fields.items():
            yield name, getattr(self, name), field.description or ""

    @abstractmethod
    def strike(self, market: StressMarket) -> StressMarket:
        """Give the market as it is under this stress; the hours before the shock stay as they were."""
