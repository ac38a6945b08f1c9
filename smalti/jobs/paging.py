"""Pages of a list that is spread over the parts of a pool: the newest jobs of all, and a token."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from heapq import merge
from itertools import islice

from smalti.errors import InvalidRequest, JobDamaged
from smalti.jobs.job import Job

OVER = "-"  # the token of a part of which everything was listed
Found = Job | JobDamaged | None


@dataclass(frozen=True, slots=True)
class Entry:
    """A job of a page, and the token of what follows it in its part."""

    part: int
    token: str
    job: Found


@dataclass(frozen=True, slots=True)
class PartPage:
    """What a part has to offer for the next page."""

    before: str  # the token from which it was read
    entries: Sequence[Entry]
    after: str  # the token of what follows all entries


def split_token(page_token: str, parts: int) -> Sequence[str]:
    """The token of each part; raises InvalidRequest."""
    one = r"[0-9]{1,18}" if parts == 1 else rf"([0-9]{{0,18}}|{OVER})"
    if page_token and not re.fullmatch(rf"{one}(\.{one}){{{parts - 1}}}", page_token):
        raise InvalidRequest("This page token is not from this server.", field="page_token")
    return page_token.split(".") if page_token else [""] * parts


def newest(pages: Sequence[PartPage], limit: int) -> tuple[Sequence[Found], str]:
    """The newest jobs of these pages, and the token of the next page; empty on the last."""
    entries = list(islice(merge(*(page.entries for page in pages), key=_age), limit))
    tokens = [
        _token(page, [entry for entry in entries if entry.part == part]) for part, page in enumerate(pages)
    ]
    is_last = all(token == OVER for token in tokens)
    return [entry.job for entry in entries], "" if is_last else ".".join(tokens)


def _age(entry: Entry) -> float:
    """Smaller for newer jobs. What cannot be listed has no age, and is passed over at once."""
    return -entry.job.created if isinstance(entry.job, Job) else float("-inf")


def _token(page: PartPage, taken: Sequence[Entry]) -> str:
    if len(taken) == len(page.entries):
        return page.after or OVER
    return taken[-1].token if taken else page.before
