"""Run all projectors of a ledger in one process."""

import threading

from ledger.database import Database
from ledger.master_key import MasterKey
from projections.follower import keep_running
from projections.log.projector import LogProjector
from projections.runner import Projector


def run_projectors(
    database: Database, master_key: MasterKey, origin: str, stop: threading.Event
) -> None:
    """Project until `stop` is set, or the read model fails, which is raised.

    The log is kept beside it: where that fails it is tried again, and nobody else is disturbed.
    """
    log = threading.Thread(
        target=keep_running,
        args=(LogProjector(database, master_key, origin), stop),
        name="log",
        daemon=True,
    )
    log.start()
    try:
        Projector(database).run(stop)
    finally:
        stop.set()
        log.join()
