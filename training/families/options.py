"""Types for the options in a recipe's tables, which all families use."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

LARGEST_RATE = 1e6  # above it nothing learns, and float32 soon overflows

Fraction = Annotated[float, Field(ge=0, lt=1)]
Probability = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, le=LARGEST_RATE)]
NotNegative = Annotated[float, Field(ge=0, le=LARGEST_RATE)]
Count = Annotated[int, Field(ge=1, le=4096)]  # cells, channels or latents of a network
Layers = Annotated[int, Field(ge=1, le=64)]


class Table(BaseModel):
    """A recipe's table that a family reads; unknown keys are refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)


class NoOptions(Table):
    """A table in which a family has no options."""
