"""One file a subject: `run(context)` measures and returns rows."""
