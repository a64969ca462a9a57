"""How a feed is kept alive."""

from typing import Annotated

from pydantic import Field

from carryflow.core.section import Section


class FeedSettings(Section):
    """Steer the books and marks that a venue streams."""

    silence_seconds: Annotated[
        float,
        Field(gt=0, le=600, description="silence of a market after which it is asked for anew (seconds)"),
    ] = 10.0
    backoff_seconds: Annotated[
        float, Field(gt=0, le=60, description="wait before the first attempt to get back (seconds); doubles")
    ] = 0.2
    longest_backoff_seconds: Annotated[
        float, Field(gt=0, le=600, description="longest wait between two attempts (seconds)")
    ] = 30.0
    levels: Annotated[
        int, Field(ge=5, le=1000, description="price levels a side that are kept, where the venue gives them")
    ] = 100
    markets_per_connection: Annotated[
        int, Field(ge=1, le=200, description="most markets that share a connection")
    ] = 50
    poll_seconds: Annotated[
        float,
        Field(gt=0, le=60, description="pause between two looks at what the venue does not stream (seconds)"),
    ] = 2.0
