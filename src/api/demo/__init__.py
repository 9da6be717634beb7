"""The sample that `--demo` loads: 300 real hotel bookings (see ATTRIBUTION.md)."""

from contextlib import closing
from importlib.resources import as_file, files

from api.imports.reading import Reading
from ledger.database import Database
from ledger.import_writer import ImportWriter, fingerprint_key
from ledger.workflow import read_workflow

SOURCE = "hotel-sample"


def load_demo(database: Database) -> int:
    """Import the sample; a second time records nothing. Gives the number of events recorded.

    It is history of another system, in that system's statuses, whatever workflow the ledger
    has for bookings of its own.
    """
    folder = files("api.demo")
    with as_file(folder.joinpath("hotel.toml")) as path:
        workflow = read_workflow(path)
    recorded = 0
    with (
        as_file(folder.joinpath("hotel.csv")) as path,
        path.open("rb") as binary,
        closing(ImportWriter(database, workflow, SOURCE)) as writer,
    ):
        for chunk in Reading("csv", False, workflow).chunks(binary, fingerprint_key(database)):
            taken = writer.record(chunk.rows)
            recorded += taken.opened + taken.changed
    return recorded
