"""How many files this process may have open at once. Connections count, too."""

import resource
from contextlib import suppress

from smalti.errors import SmaltiError

FEWEST = 256  # with fewer, libraries crash when they find none free
_MOST = 65536  # some systems refuse more, and some programs walk through all of them


class TooFewFiles(SmaltiError):
    """This process may not have as many files open as it needs."""


def allow_many() -> None:
    """Let this process, and those that it starts, open as many files as the system allows; raises TooFewFiles."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = _MOST if hard == resource.RLIM_INFINITY else min(hard, _MOST)
    if most < FEWEST:
        raise TooFewFiles(
            f"This process may have only {most} files and connections open, and needs {FEWEST}: raise the limit before "
            f"the start (ulimit -Hn {_MOST}; Docker: --ulimit nofile={_MOST}; systemd: LimitNOFILE={_MOST})."
        )
    if soft != resource.RLIM_INFINITY and soft < most:
        with suppress(ValueError, OSError):  # macOS has a second limit, which nothing names
            resource.setrlimit(resource.RLIMIT_NOFILE, (most, hard))
