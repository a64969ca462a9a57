"""The base of every group of settings."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """Hold one room's settings: frozen, typed, and closed to unknown keys.

    A section lives beside the code that it steers; `carryflow.settings` composes the tree. Each field carries
    its unit and its meaning as the field's description.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)
