"""The sample that `--demo` loads: 300 real hotel bookings (see ATTRIBUTION.md)."""

from importlib.resources import as_file, files

from api.imports.formats import Record, read
from api.imports.rows import RowReader, fingerprint_key
from ledger.commands import Answer
from ledger.database import Database
from ledger.workflow import read_workflow
from ledger.writer import Writer

SOURCE = "hotel-sample"


def load_demo(database: Database) -> list[Answer]:
    """Import the sample; a second time records nothing.

    It is history of another system, in that system's statuses, whatever workflow the ledger
    has for bookings of its own.
    """
    folder = files("api.demo")
    with as_file(folder.joinpath("hotel.toml")) as path:
        workflow = read_workflow(path)
    rows = RowReader(SOURCE, fingerprint_key(database), assume_utc=False)
    with as_file(folder.joinpath("hotel.csv")) as path, path.open("rb") as binary:
        records = [one for one in read(binary, "csv", gzipped=False) if isinstance(one, Record)]
    writer = Writer(database, workflow)
    try:
        return writer.execute([rows.command(record.values) for record in records])
    finally:
        writer.close()
