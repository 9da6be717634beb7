"""What commands print: JSON for programs, text for people, progress for whoever waits."""

import os
import re
import secrets
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import click
import orjson
from tqdm import tqdm

from projections.rebuild import Progress

_CONTROL = re.compile("[\x00-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069\ud800-\udfff]")


def print_json(document: Any) -> None:
    """One line of JSON."""
    click.echo(orjson.dumps(document, default=str, option=orjson.OPT_UTC_Z))


def printable(text: str | None) -> str:
    """A text that others wrote, made harmless: a terminal must not obey what a reason says."""
    if text is None:
        return "-"
    return _CONTROL.sub(lambda match: ascii(match[0])[1:-1], text)


def print_table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    widths = [max(map(len, column)) for column in zip(header, *rows, strict=True)]
    for row in (header, *rows):
        cells = (cell.ljust(width) for cell, width in zip(row, widths, strict=True))
        click.echo("  ".join(cells).rstrip())


def print_facts(facts: dict[str, object]) -> None:
    width = max(map(len, facts))
    for name, value in facts.items():
        shown = f"{value:,}" if isinstance(value, int) else str(value)
        click.echo(f"{name.ljust(width)}  {shown}")


@contextmanager
def progress_bar(title: str, unit: str) -> Iterator[Progress]:
    """A bar with rate and time left, on standard error if that is a terminal.

    It is told how far the work is and how far it goes.
    """
    with tqdm(desc=title, unit=f" {unit}", unit_scale=True, disable=None) as bar:

        def show(done: int, total: int) -> None:
            bar.total = total
            bar.update(done - bar.n)

        yield show


def write_text(text: str, out: Path | None) -> None:
    """Into a file, whole or not at all; without one to standard output."""
    if out is None:
        click.echo(text, nl=False)
        return
    beside = out.with_name(f".{out.name}.{secrets.token_hex(4)}")
    try:
        with beside.open("w", encoding="utf-8", newline="\n") as file:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
        beside.replace(out)
    finally:
        beside.unlink(missing_ok=True)
