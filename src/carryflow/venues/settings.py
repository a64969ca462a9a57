"""Which venue is asked, and how patiently."""

from typing import Literal

from pydantic import Field

from carryflow.core.section import Section

TAPE_HEADER = "X-Carryflow-Tape"
"""Response header in which the simulated exchange names its tape, so that hours of two tapes never mix."""

VenueName = Literal["simulated", "binance", "bybit", "okx", "deribit"]


class VenueSettings(Section):
    """Choose the venue and how it is asked."""

    name: VenueName = Field("simulated", description="venue that hours are fetched from")
    url: str | None = Field(
        None,
        pattern="^https?://",
        description="address of a simulated exchange that is up; empty: `run` and `fetch` start one",
    )
    requests_in_flight: int = Field(4, ge=1, le=32, description="most requests under way at once")
    retries: int = Field(4, ge=0, le=10, description="how often a request without an answer is sent again")
    backoff_seconds: float = Field(
        0.5, ge=0, le=60, description="wait before the first retry, seconds; doubles with each further one"
    )
