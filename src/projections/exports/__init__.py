"""The history as files of other tools, streamed; each is true for a stated position."""
