"""The process that `supervisor` starts: project until standard input closes."""

import logging
import os
import signal
import sys
import threading

import psycopg

from api.settings import LOG_FORMAT, read_settings
from ledger.database import Database
from ledger.errors import StoreUnavailable
from ledger.master_key import MasterKeyError
from projections.running import run_projectors


def main() -> int:
    logging.basicConfig(level=logging.INFO, format=LOG_FORMAT)
    # Terminals and service managers signal the whole group; the parent decides when we end.
    for group_signal in (signal.SIGINT, signal.SIGTERM):
        signal.signal(group_signal, signal.SIG_IGN)
    stop = threading.Event()
    threading.Thread(target=_stop_at_end_of_input, args=(stop,), daemon=True).start()
    settings = read_settings()
    assert settings.database_url is not None
    try:
        master_key = settings.load_master_key()
        database = Database(settings.database_url, settings.schema_name, master_key)
        run_projectors(database, master_key, settings.origin, stop)
    except MasterKeyError as error:
        logging.error("%s", error)  # noqa: TRY400
        return 1
    except (StoreUnavailable, psycopg.OperationalError) as error:
        logging.error("the database was lost: %s", error)  # noqa: TRY400  # no defect to trace
        return 1
    return 0


def _stop_at_end_of_input(stop: threading.Event) -> None:
    # Not through sys.stdin, whose lock a thread would still hold when the interpreter ends.
    while os.read(0, 1024):
        pass
    stop.set()


if __name__ == "__main__":
    sys.exit(main())
