"""The command `smalti` from its first moment: what it imports takes a while, and Ctrl-C is quiet even then."""

import os
import signal

from smalti.cli.exit_codes import INTERRUPTED


def main() -> None:
    """Run the command of `smalti.cli.main`."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:  # not where Ctrl-C is to be ignored, as in the background
        signal.signal(signal.SIGINT, lambda number, frame: os._exit(INTERRUPTED))
    os.environ.setdefault(
        "GRPC_VERBOSITY", "NONE"
    )  # gRPC reads it when it is imported; our own words are enough
    from smalti.cli.main import main as run

    signal.signal(signal.SIGINT, before)
    run()


if __name__ == "__main__":
    main()
