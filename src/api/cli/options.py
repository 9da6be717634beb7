"""Options that several commands have."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

Command = Callable[..., Any]

OPTIONS = (
    click.option(
        "--data-dir",
        type=click.Path(file_okay=False, path_type=Path),
        help="Directory of the embedded database (LEDGER_DATA_DIR, default .ledger).",
    ),
    click.option(
        "--database-url",
        help="PostgreSQL to use instead of the embedded one (LEDGER_DATABASE_URL).",
    ),
    click.option(
        "--workflow",
        type=click.Path(dir_okay=False, path_type=Path),
        help="Workflow file in TOML (LEDGER_WORKFLOW).",
    ),
)


def ledger_options(command: Command) -> Command:
    """--data-dir, --database-url and --workflow, as keyword arguments for `read_settings`."""
    for option in reversed(OPTIONS):
        command = option(command)
    return command


json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON, for programs.")

out_option = click.option(
    "--out",
    type=click.Path(dir_okay=False, path_type=Path),
    help="File to write, whole or not at all; standard output without it.",
)
