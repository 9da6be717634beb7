"""`verify`: the audit on the command line."""

import sys

import click

from api.cli.existing import existing_ledger
from api.cli.options import json_option, ledger_options
from api.cli.output import print_facts, print_json, printable, progress_bar
from api.settings import read_settings
from projections.audit import AuditReport, audit
from projections.findings import Finding

EXIT_FINDINGS = 1


@click.command()
@ledger_options
@json_option
def verify(as_json: bool, **given: object) -> None:
    """Audit the ledger: are its events whole, and is the read model what they say?

    Checked are positions without gaps, an unbroken chain of readable events for every booking,
    and each value of the read model up to the position that it is derived to. Nothing is
    changed; a running service is not disturbed.

    Exit codes: 0 sound; 1 something was found, or the audit could not be done.
    """
    with (
        existing_ledger(read_settings(**given)) as database,
        progress_bar("verify", "events") as progress,
    ):
        report = audit(database, progress)
    if as_json:
        print_json(_document(report))
    else:
        _print(report)
    sys.exit(0 if report.sound else EXIT_FINDINGS)


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
