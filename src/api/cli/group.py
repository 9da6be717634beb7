"""The command group: names and short helps here, everything else where it is needed."""

import errno
import sys
from importlib import import_module
from typing import Any, ClassVar

import click

from ledger.errors import LedgerError

EXIT_ERROR = 1
EXIT_INTERRUPTED = 130


class LazyGroup(click.Group):
    """Imports a command when it is invoked, so that `--help` needs no database driver.

    Errors that a user can act on end in one line on standard error and exit code 1, Ctrl-C
    in exit code 130; neither shows a traceback. Anything else is a defect and does.
    """

    commands_by_name: ClassVar[dict[str, tuple[str, str]]] = {
        "serve": ("serve:serve", "Run the service: HTTP, web page and projector."),
        "project": ("serve:project", "Run a projector of its own."),
        "migrate": ("database:migrate", "Set up the database, or bring it up to date."),
        "import": ("import_:import_", "Take in the status history of another system."),
        "export": ("export:export", "Write the status history as CSV, Parquet, XES and others."),
        "history": ("history:history", "Show the status history of a booking."),
        "replay": ("replay:replay", "Replay events and show what each of them did."),
        "verify": ("verify:verify", "Audit events, log and read model for alterations."),
        "checkpoint": ("log:checkpoint", "Write the newest signed checkpoint of the log."),
        "log": ("log:log", "Keys and proofs of the transparency log."),
        "evidence": ("evidence:evidence", "Write a file that proves a booking's history."),
        "verify-evidence": ("evidence:verify_evidence", "Check such a file, offline."),
        "erase": ("personal_data:erase", "Erase what is personal in a booking, for ever."),
        "hold": ("personal_data:hold", "Place a legal hold on a booking."),
        "release": ("personal_data:release", "Release it."),
        "rebuild": ("database:rebuild", "Derive the read model anew from the events."),
        "keys": ("keys:keys", "Make, list and revoke access keys."),
    }

    def list_commands(self, ctx: click.Context) -> list[str]:
        del ctx
        return list(self.commands_by_name)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        del ctx
        if cmd_name not in self.commands_by_name:
            return None
        module, name = self.commands_by_name[cmd_name][0].split(":")
        command = getattr(import_module(f"api.cli.{module}"), name)
        assert isinstance(command, click.Command)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self.commands_by_name.items()])

    def invoke(self, ctx: click.Context) -> Any:
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            ctx.exit(EXIT_INTERRUPTED)
        except Exception as error:
            if not isinstance(error, (LedgerError, OSError, *_foreign_errors())):
                raise
            if getattr(error, "errno", None) == errno.EPIPE:
                raise  # the reader of our output has gone; click ends quietly
            click.echo(f"Error: {one_line(error)}", err=True)
            ctx.exit(EXIT_ERROR)


def one_line(error: BaseException) -> str:
    text = " ".join(str(error).split())
    return text or type(error).__name__


def _foreign_errors() -> tuple[type[Exception], ...]:
    """Errors of the database, its driver and the engine, where these are in use at all."""
    return tuple(
        getattr(sys.modules[module], name)
        for module, name in (
            ("psycopg", "Error"),
            ("eventsourcing.persistence", "PersistenceError"),
            ("api.embedded.errors", "EmbeddedPostgresError"),
        )
        if module in sys.modules
    )


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="booking-ledger", message="%(prog)s %(version)s")
def main() -> None:
    """Booking Ledger: what happened to every booking, who did it, when and why.

    Without --database-url or LEDGER_DATABASE_URL, a command uses the embedded database in
    --data-dir, whether a service is running on it or not.
    """
