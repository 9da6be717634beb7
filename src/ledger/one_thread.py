"""A thread for what an event loop must not wait for."""

from concurrent.futures import ThreadPoolExecutor


def one_thread(name: str) -> ThreadPoolExecutor:
    """An executor with one thread that runs already. Raises RuntimeError where none is to be had.

    An executor starts its thread with the first work, which it has queued by then: where that
    fails the work would be done later all the same, after its caller was told otherwise.
    """
    executor = ThreadPoolExecutor(1, name)
    executor.submit(int).result()
    return executor
