"""How a call ends: its status, and the exception that ends it with one."""

from collections.abc import Sequence
from dataclasses import dataclass

from grpc import StatusCode

Metadata = Sequence[tuple[str, str | bytes]]  # values of keys that end with -bin are bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class Status:
    """A code of gRPC with a message for people, and the metadata that follows the responses."""

    code: StatusCode
    message: str = ""
    trailing: Metadata = ()


OK = Status(code=StatusCode.OK)


class Ended(Exception):
    """Ends the call with a status, wherever its answer is at the moment."""

    def __init__(self, status: Status) -> None:
        super().__init__(status.code.name, status.message)
        self.status = status
