"""What a call is, and how unusable values are refused before anything is sent."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import wraps
from typing import Any, Generic, ParamSpec, TypeVar

from smalti.errors import InvalidRequest

Reply = TypeVar("Reply")
Made = TypeVar("Made")
Given = ParamSpec("Given")
Palette = tuple[str, ...]
UNFIT = (TypeError, ValueError, AttributeError, LookupError, ArithmeticError)  # what unusable values raise


@dataclass(frozen=True, slots=True)
class Call(Generic[Reply]):
    """One RPC: its service and method, its request, and how its response is read."""

    service: Any
    method: str
    request: Any
    read: Callable[[Any], Reply]


@dataclass(frozen=True, slots=True)
class ImageCall(Generic[Reply]):
    """A call whose response is read with the palette of the model that drew it."""

    service: Any
    method: str
    request: Any
    read: Callable[[Any, Palette], Reply]


@dataclass(frozen=True, slots=True)
class UploadCall(Generic[Reply]):
    """A call whose request is a stream of messages. They are kept, so that it can be made again."""

    service: Any
    method: str
    requests: Sequence[Any]
    read: Callable[[Any], Reply]


def from_values(make: Callable[Given, Made]) -> Callable[Given, Made]:
    """Raise InvalidRequest if the call cannot be made of the values given."""

    @wraps(make)
    def made(*args: Given.args, **values: Given.kwargs) -> Made:
        try:
            return make(*args, **values)
        except UNFIT as error:
            raise InvalidRequest(f"No request for {make.__name__} can be made of this: {error}.") from error

    return made
