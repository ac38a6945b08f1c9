import base64
import string
from collections.abc import Iterator
from io import BytesIO
from urllib.parse import quote

import pytest
from google.rpc import error_details_pb2
from grpc import StatusCode

from server.errors import code_of, message_of, status_of
from smalti.client.failures import REASONS
from smalti.errors import (
    ImageRefused,
    InvalidRequest,
    ModelNotFound,
    QueueFull,
    SmaltiError,
    Unavailable,
    reason_of,
)
from smalti.jobs.connection import MemoryFull

UNCHANGED = (string.punctuation + " ").replace("%", "")  # by gRPC's percent-encoding


def tree(kind: type[SmaltiError] = SmaltiError) -> Iterator[type[SmaltiError]]:
    yield kind
    for child in kind.__subclasses__():
        yield from tree(child)


ERRORS = [
    kind for kind in tree() if kind.__module__ == "smalti.errors"
]  # other modules have some of their own


@pytest.mark.parametrize("kind", ERRORS)
def test_every_error_has_a_status_and_a_reason_that_clients_know(kind):
    error = kind("It is so.")
    assert isinstance(code_of(error), StatusCode)
    assert code_of(error) is not StatusCode.UNKNOWN
    assert REASONS[reason_of(kind)] is kind
    assert status_of(error).code == code_of(error).value[0]


def detail_of(error: SmaltiError, detail):
    for packed in status_of(error).details:
        if packed.Is(detail.DESCRIPTOR):
            packed.Unpack(detail)
            return detail
    return None


def test_temporary_errors_say_when_to_try_again():
    for error in (QueueFull("Full.", retry_seconds=2.5), Unavailable("Away.", retry_seconds=2.5)):
        assert detail_of(error, error_details_pb2.RetryInfo()).retry_delay.ToMilliseconds() == 2500
    assert detail_of(ModelNotFound("None."), error_details_pb2.RetryInfo()) is None


def test_errors_about_a_value_name_its_field():
    detail = detail_of(ImageRefused("Too small.", field="image"), error_details_pb2.BadRequest())
    assert [(each.field, each.description) for each in detail.field_violations] == [("image", "Too small.")]
    assert detail_of(InvalidRequest("No."), error_details_pb2.BadRequest()) is None


def test_a_subclass_that_the_table_lacks_has_the_status_of_its_base_class():
    assert code_of(ImageRefused("No.")) is StatusCode.INVALID_ARGUMENT


def test_an_error_of_another_module_has_the_reason_of_its_base_class_that_clients_know():
    info = detail_of(MemoryFull("Full."), error_details_pb2.ErrorInfo())
    assert REASONS[info.reason] is Unavailable


def test_a_message_stays_short_enough_for_headers():
    error = ModelNotFound("x" * 100_000)
    assert len(message_of(error)) < 1500
    assert len(status_of(error).SerializeToString()) < 8000


@pytest.mark.parametrize("character", ["x", "界", "é", "😀", "%", "\n", "\0", "\ud800"])
def test_a_status_of_any_characters_fits_into_headers(character):
    error = ImageRefused("It begins " + character * 100_000, field="completion.image")
    details = base64.b64encode(status_of(error).SerializeToString())
    assert len(quote(message_of(error), safe=UNCHANGED)) + len(details) < 7500
    assert message_of(error).startswith("It begins ")
    assert message_of(error).endswith("…")


def test_a_message_that_fits_is_not_changed():
    assert message_of(ModelNotFound("界" * 166)) == "界" * 166
    assert message_of(ModelNotFound("界" * 167)).endswith("…")


def test_messages_contain_no_addresses_of_python_objects():
    said = f"cannot identify image file {BytesIO()!r}"
    assert str(ImageRefused(f"No PNG: {said}.")) == "No PNG: cannot identify image file."
    assert str(SmaltiError(f"{object()} is '{test_a_message_that_fits_is_not_changed}' here")) == " is here"
    assert str(SmaltiError("1 < 2 and 3 > 2 at 0x7")) == "1 < 2 and 3 > 2 at 0x7"
