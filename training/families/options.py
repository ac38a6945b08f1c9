"""What the tables of a recipe have in common, whichever family reads them."""

from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

LARGEST_RATE = 1e6  # beyond it nothing learns, and float32 soon overflows

Fraction = Annotated[float, Field(ge=0, lt=1)]
Probability = Annotated[float, Field(ge=0, le=1)]
Positive = Annotated[float, Field(gt=0, le=LARGEST_RATE)]
NotNegative = Annotated[float, Field(ge=0, le=LARGEST_RATE)]
Count = Annotated[int, Field(ge=1, le=4096)]  # of a network's cells, channels or latents
Layers = Annotated[int, Field(ge=1, le=64)]


class Table(BaseModel):
    """A table of a recipe that one family reads: what it does not know is refused."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False, strict=True)


class NoOptions(Table):
    """A table that a family has no options for."""
