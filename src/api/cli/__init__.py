"""The command line. What a command needs is imported when that command is called."""

from api.cli.group import LazyGroup, main

__all__ = ["LazyGroup", "main"]
