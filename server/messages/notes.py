"""Checks the notes of jobs (name, labels, webhook), and which jobs are asked for."""

import re
from collections.abc import Mapping

from server.messages.descriptions import STATES
from server.webhooks.targets import Targets
from smalti.errors import InvalidRequest
from smalti.jobs.job import JobState, Notes
from smalti.jobs.listing import Wanted
from smalti.printable import printable
from smalti.v1 import jobs_pb2

LONGEST = 128  # characters of a name, or of the value of a label
MOST_LABELS = 32
_KEY = re.compile(r"[A-Za-z0-9][A-Za-z0-9._/-]{0,62}")
_JOB_STATES: Mapping[int, JobState] = {number: state for state, number in STATES.items()}


def notes_of(message: jobs_pb2.SubmitRequest, targets: Targets) -> Notes:
    """The notes of a new job; raises InvalidRequest, and Unsupported for a webhook where there are none."""
    if len(message.labels) > MOST_LABELS:
        raise InvalidRequest(
            f"A job has at most {MOST_LABELS} labels, not {len(message.labels)}.", field="labels"
        )
    _check_text(message.name, "name", "A name")
    for key, value in message.labels.items():
        _check_label(key, value)
    return Notes(
        name=message.name,
        labels=tuple(sorted(message.labels.items())),
        webhook=targets.check(message.webhook),
    )


def wanted_of(message: jobs_pb2.ListJobsRequest) -> Wanted:
    """Which jobs are asked for; raises InvalidRequest for a state that the contract does not have."""
    return Wanted(
        states=frozenset(map(_state_of, message.states)),
        model=message.model,
        name=message.name,
        labels=frozenset(message.labels.items()),
    )


def _check_label(key: str, value: str) -> None:
    if not _KEY.fullmatch(key):
        raise InvalidRequest(
            f"The key of a label has 1 to 63 of A-Z a-z 0-9 . _ / - and begins with a letter or digit, "
            f"unlike '{printable(key)}'.",
            field="labels",
        )
    _check_text(value, "labels", f"The value of label '{key}'")


def _check_text(text: str, field: str, what: str) -> None:
    if len(text) > LONGEST or not text.isprintable():
        raise InvalidRequest(f"{what} has at most {LONGEST} characters, all of them printable.", field=field)


def _state_of(number: int) -> JobState:
    if number not in _JOB_STATES:
        raise InvalidRequest(f"There is no job state {number}.", field="states")
    return _JOB_STATES[number]
