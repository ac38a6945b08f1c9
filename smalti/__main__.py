"""Starts the command `smalti`. Its imports take a moment; Ctrl-C is quiet during them too."""

import os
import signal

from smalti.cli.exit_codes import INTERRUPTED


def main() -> None:
    """Run the command of `smalti.cli.main`."""
    before = signal.getsignal(signal.SIGINT)
    if before is signal.default_int_handler:  # if the shell ignores Ctrl-C (a background job), leave it so
        signal.signal(signal.SIGINT, lambda number, frame: os._exit(INTERRUPTED))
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")  # gRPC reads it on import; our own messages are enough
    from smalti.cli.main import main as run

    signal.signal(signal.SIGINT, before)
    run()


if __name__ == "__main__":
    main()
