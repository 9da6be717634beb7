"""Keep a projector running beside the service, in a process of its own.

Its own process because it shares no interpreter with requests then, and because a failure of
the read model must not reach the write side.
"""

import logging
import subprocess
import sys
import threading
import time
from pathlib import Path

from api.settings import process_environment
from ledger.database import Database

logger = logging.getLogger(__name__)

PAUSE_SECONDS_MIN = 0.2
PAUSE_SECONDS_MAX = 10.0
STEADY_SECONDS = 30.0
STOP_SECONDS = 10.0


class ProjectorProcess:
    """Starts the projector, and starts it again whenever it ends, ever more slowly.

    The child ends by itself when its standard input closes, so a SIGKILL of this process
    leaves no projector behind.
    """

    def __init__(self, database: Database, data_dir: Path) -> None:
        self._environment = {
            **process_environment(),
            "LEDGER_DATABASE_URL": database.url,
            "LEDGER_SCHEMA": database.schema,
            "LEDGER_DATA_DIR": str(data_dir.resolve()),  # the master key may be there
        }
        self._stopping = threading.Event()
        self._child: subprocess.Popen[bytes] | None = None
        self._thread = threading.Thread(target=self._keep_running, name="projector", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        child = self._child
        if child is not None and child.stdin is not None:
            child.stdin.close()
            try:
                child.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()
        self._thread.join(STOP_SECONDS)

    def _keep_running(self) -> None:
        pause = PAUSE_SECONDS_MIN
        while not self._stopping.is_set():
            started = time.monotonic()
            code = self._run()
            if self._stopping.is_set():
                return
            if time.monotonic() - started > STEADY_SECONDS:
                pause = PAUSE_SECONDS_MIN
            logger.error("the projector ended with code %s; again in %.1f s", code, pause)
            self._stopping.wait(pause)
            pause = min(pause * 2, PAUSE_SECONDS_MAX)

    def _run(self) -> int:
        self._child = subprocess.Popen(
            [sys.executable, "-P", "-m", "api.projector_main"],
            stdin=subprocess.PIPE,
            env=self._environment,
        )
        return self._child.wait()
