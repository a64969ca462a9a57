"""Which venue is asked, and how patiently."""

from typing import Literal

from pydantic import ConfigDict, Field, field_validator
from pydantic_core import PydanticCustomError

from carryflow.core.section import Section

TAPE_HEADER = "X-Carryflow-Tape"
"""Response header in which the simulated exchange names its tape, so that hours of two tapes never mix."""

VenueName = Literal["simulated", "binance", "bybit", "okx", "deribit"]


class VenueSettings(Section):
    """Choose the venue and how it is asked."""

    model_config = ConfigDict(hide_input_in_errors=True)

    name: VenueName = Field("simulated", description="venue that hours are fetched from")
    url: str | None = Field(
        None,
        pattern="^https?://",
        description="address that every request goes to: a simulated exchange that is up (empty: `run` and "
        "`fetch` start one), or a mirror of a real venue (empty: the venue itself)",
    )
    requests_in_flight: int = Field(8, ge=1, le=32, description="most requests under way at once")
    request_timeout_seconds: float = Field(
        10,
        gt=0,
        le=120,
        description="longest wait for one answer; then nobody knows what came of it, seconds",
    )
    orders_over_websocket: bool = Field(
        True,
        description="send orders over the venue's websocket where it takes them there (Binance), which is "
        "faster than HTTP; while that is down, and elsewhere, they go over HTTP",
    )
    retries: int = Field(4, ge=0, le=10, description="how often a request without an answer is sent again")
    backoff_seconds: float = Field(
        0.5, ge=0, le=60, description="wait before the first retry, seconds; doubles with each further one"
    )
    longest_pause_seconds: float = Field(
        120,
        ge=0,
        le=3600,
        description="longest pause that a venue may ask for before a fetch gives up, seconds",
    )

    @field_validator("url", mode="before")
    @classmethod
    def _names_nobody(cls, url: object) -> object:
        """Refuse credentials: addresses are written into files and messages. Not even this one repeats it."""
        if isinstance(url, str) and "@" in url:
            raise PydanticCustomError("secret", "must hold no user or password; name host and port only")
        return url
