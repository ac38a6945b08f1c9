"""What the exit codes of the command mean; imports nothing, so that it loads before everything else."""

FAILED = 1
WRONG_USAGE = 2
NOT_FOUND = 3
AWAY = 4
PARTLY = 5  # done, except for pictures that could not be used
JOB_CANCELLED = 6
JOB_OVERDUE = 7  # it was stopped at its deadline
NOT_ENDED = 8  # the command stopped waiting first
INTERRUPTED = 130  # shells use this for Ctrl-C
READER_GONE = 141  # shells use this for a command that SIGPIPE ended
