"""The command `smalti`: its commands, and what their exit codes mean."""

from typing import Any

import click

import smalti
from smalti.cli import admin, completing, images, jobs, models, results
from smalti.cli.endings import JobNotSucceeded
from smalti.cli.exit_codes import AWAY, FAILED, INTERRUPTED, NOT_FOUND, WRONG_USAGE
from smalti.cli.streams import sound_streams
from smalti.errors import (
    Busy,
    DeadlinePassed,
    InvalidRequest,
    JobNotFound,
    ModelNotFound,
    RequestConflict,
    SmaltiError,
    Unavailable,
    WorkerNotFound,
)

_EXIT_CODES: dict[type[SmaltiError], int] = {
    InvalidRequest: WRONG_USAGE,
    RequestConflict: WRONG_USAGE,
    ModelNotFound: NOT_FOUND,
    JobNotFound: NOT_FOUND,
    WorkerNotFound: NOT_FOUND,
    Busy: AWAY,
    Unavailable: AWAY,
    DeadlinePassed: AWAY,
}


class _Commands(click.Group):
    """Lists commands in the order below, and turns each SmaltiError into one sentence and an exit code."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(self.commands)

    def main(self, *args: Any, **kwargs: Any) -> Any:
        with sound_streams():
            return super().main(*args, **kwargs)

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except SmaltiError as error:
            raise _Refusal(error) from error
        except KeyboardInterrupt as error:
            raise click.exceptions.Exit(INTERRUPTED) from error


class _Refusal(click.ClickException):
    """A SmaltiError on its way to standard error."""

    def __init__(self, error: SmaltiError) -> None:
        super().__init__(" ".join([str(error), *getattr(error, "__notes__", ())]))
        self.exit_code = exit_code(error)  # type: ignore[misc]  # click reads it from the instance


@click.group(
    cls=_Commands,
    context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 100},
)
@click.version_option(smalti.__version__, prog_name="smalti")
def main() -> None:
    """Draw images with the generative models of a smalti server.

    \b
    Exit codes:
      0    done
      1    the request or the job failed, or standard output cannot be written
      2    wrong usage, or an input that cannot be used
      3    no such model, job or worker
      4    the server is away or busy: try again later
      5    done, except for pictures that could not be used; they are named
      6    the job was cancelled
      7    the job was stopped at its deadline
      8    the job has not ended within --timeout
      130  stopped by Ctrl-C; a job that was watched goes on
      141  the reader of standard output went away
    """


def exit_code(error: SmaltiError) -> int:
    """The exit code for an error."""
    if isinstance(error, JobNotSucceeded):
        return error.exit_code
    return next((code for kind, code in _EXIT_CODES.items() if isinstance(error, kind)), FAILED)


for _command in (
    images.draw,
    jobs.submit,
    jobs.watch,
    jobs.wait,
    results.results,
    jobs.pause,
    jobs.resume,
    jobs.cancel,
    jobs.delete,
    jobs.jobs,
    jobs.webhook_key,
    models.models,
    models.load,
    models.unload,
    completing.complete,
    images.sweep,
    images.encode,
    images.reconstruct,
    images.interpolate,
    images.score,
    admin.admin,
):
    main.add_command(_command)

if __name__ == "__main__":
    main()
