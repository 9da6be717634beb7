"""What makes a file that was put in place survive a power loss."""

import os
from pathlib import Path


def flush_directory(directory: Path) -> None:
    """Put the names of the files in a directory on disk."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
