"""Other event-sourcing packages at the same work, each a program of its own.

They run with `benchmarks/.venv`, so they import nothing of ours but `benchmarks.packages.work`.
"""
