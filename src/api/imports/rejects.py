"""The file of what could not be taken."""

import csv
from collections.abc import Iterable
from contextlib import nullcontext, suppress
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

from api.imports.formats import Reject


class RejectsFile:
    """A CSV file of line, reason and row; made when the first row is rejected, not before."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._file: TextIO | None = None
        self._csv: Any = None

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        if self._file is None:
            return
        # What could not be written for want of room is tried again, and has been said.
        with suppress(OSError) if error is not None else nullcontext():
            self._file.close()

    def write(self, rejects: Iterable[Reject]) -> None:
        """The rows as they stood, their bytes too, on disk when this returns or nearly so."""
        for reject in rejects:
            self._writer().writerow(
                (reject.line, reject.reason.encode("utf-8", "replace").decode(), reject.row)
            )
        if self._file is not None:
            self._file.flush()

    def _writer(self) -> Any:
        if self._file is None:
            self._file = self.path.open("w", encoding="utf-8", errors="surrogateescape", newline="")
            self._csv = csv.writer(self._file)
            self._csv.writerow(Reject._fields)
        return self._csv
