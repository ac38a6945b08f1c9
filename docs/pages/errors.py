"""The table of errors: what each means, how it travels over gRPC and what the command's exit code is then."""

from collections.abc import Iterator

from google.rpc import code_pb2, error_details_pb2

from docs.pages.tables import code, table
from server.errors import status_of
from smalti.cli.main import exit_code
from smalti.errors import SmaltiError

_PAGE = """# Errors

Clients raise these classes of `smalti.errors`. Over gRPC an error is a status with the details of `google.rpc`: an
ErrorInfo with the reason below and the domain `smalti`; a RetryInfo where trying again later makes sense; a BadRequest
where one field of the request is wrong. `smalti` prints the sentence and ends with the exit code.

"""


def page() -> str:
    """One line for each class of error."""
    header = ("class", "means", "gRPC status", "reason", "exit code")
    return _PAGE + table(header, (_row(kind) for kind in _below(SmaltiError))) + "\n"


def _below(kind: type[SmaltiError]) -> Iterator[type[SmaltiError]]:
    """The class and everything that inherits from it, as smalti.errors declares them."""
    yield kind
    for heir in kind.__subclasses__():
        if heir.__module__ == SmaltiError.__module__:
            yield from _below(heir)


def _row(kind: type[SmaltiError]) -> tuple[str, ...]:
    error = kind("")
    status = status_of(error)
    info = error_details_pb2.ErrorInfo()
    status.details[0].Unpack(info)
    meaning = " ".join((kind.__doc__ or "").split("\n\n")[0].split())
    grpc_status = code_pb2.Code.Name(status.code)
    return code(kind.__name__), meaning, code(grpc_status), code(info.reason), str(exit_code(error))
