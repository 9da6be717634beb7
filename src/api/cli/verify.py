"""`verify`: the audit on the command line."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import click

from api.cli.existing import existing_ledger
from api.cli.options import Command, json_option, ledger_options
from api.cli.output import print_facts, print_json, printable, progress_bar
from api.settings import read_settings
from projections.audit import AuditReport, audit
from projections.audit_snapshot import Outside
from projections.certificate import parse_certificate
from projections.findings import Finding
from projections.log.checkpoints import parse_checkpoint
from projections.log.notes import BadNote, parse_vkey

EXIT_FINDINGS = 1

ParsedT = TypeVar("ParsedT")


def _kept(name: str, argument: str, what: str) -> Callable[[Command], Command]:
    """An option for files that were kept outside."""
    return click.option(
        name,
        argument,
        type=click.Path(exists=True, dir_okay=False, path_type=Path),
        multiple=True,
        help=f"{what}; can be given several times.",
    )


@click.command()
@_kept("--checkpoint", "checkpoints", "A checkpoint that was kept outside")
@click.option(
    "--vkey",
    "vkeys",
    multiple=True,
    help="Verifier key that these must be signed by, instead of the keys of the ledger.",
)
@_kept("--projection", "certificates", "A certificate of the read model")
@ledger_options
@json_option
def verify(
    checkpoints: tuple[Path, ...],
    vkeys: tuple[str, ...],
    certificates: tuple[Path, ...],
    as_json: bool,
    **given: object,
) -> None:
    """Audit the ledger: are its events whole, and are log and read model what they say?

    Checked are positions without gaps, an unbroken chain of readable events for every booking,
    the hash of every event in the transparency log, every checkpoint ever signed, and each value
    of the read model up to the position that it is derived to. Nothing is changed; a running
    service is not disturbed.

    Whoever runs the ledger could rewrite all of it and sign it anew: --checkpoint holds it
    against what was kept where they cannot change it. --projection computes anew, from the
    events, what a certificate of the read model says.

    Exit codes: 0 sound; 1 something was found, or the audit could not be done.
    """
    outside = Outside(
        [(str(path), _parsed(parse_checkpoint, path)) for path in checkpoints],
        [parse_vkey(key) for key in vkeys],
        [(str(path), _parsed(parse_certificate, path)) for path in certificates],
    )
    with (
        existing_ledger(read_settings(**given)) as database,
        progress_bar("verify", "events") as progress,
    ):
        report = audit(database, progress, outside)
    if as_json:
        print_json(_document(report))
    else:
        _print(report)
    sys.exit(0 if report.sound else EXIT_FINDINGS)


def _parsed(parse: Callable[[bytes], ParsedT], path: Path) -> ParsedT:
    try:
        return parse(path.read_bytes())
    except BadNote as error:
        raise BadNote(f"{path}: {error}") from error


def _document(report: AuditReport) -> dict[str, object]:
    return {
        "sound": report.sound,
        "events": report.events,
        "bookings": report.bookings,
        "head": report.head,
        "projectionPosition": report.position,
        "seconds": round(report.seconds, 3),
        "findingsCount": report.findings_count,
        "findings": [
            {
                "kind": finding.kind,
                "bookingId": finding.booking_id,
                "version": finding.version,
                "position": finding.position,
                "detail": finding.detail,
            }
            for finding in report.findings
        ],
    }


def _print(report: AuditReport) -> None:
    print_facts(
        {
            "events": report.events,
            "bookings": report.bookings,
            "newest position": report.head,
            "read model up to": "nothing" if report.position is None else report.position,
            "seconds": round(report.seconds, 1),
        }
    )
    for finding in report.findings:
        click.echo(_line(finding))
    not_shown = report.findings_count - len(report.findings)
    if not_shown:
        click.echo(f"… and {not_shown:,} more")
    found = "Sound." if report.sound else f"Not sound: {report.findings_count:,} found."
    click.echo(found)


def _line(finding: Finding) -> str:
    where = []
    if finding.booking_id is not None:
        where.append(f"booking {printable(finding.booking_id)}")
    if finding.version is not None:
        where.append(f"version {finding.version}")
    if finding.position is not None:
        where.append(f"position {finding.position}")
    return f"{finding.kind}: {', '.join(where)}: {printable(finding.detail)}"
