"""Answers that stay right, kept for whoever asks the same next: a page that is reloaded."""

import threading
from collections import OrderedDict
from collections.abc import Hashable

ANSWERS_MAX = 64
BYTES_MAX = 1024 * 1024
"""Of one answer: a longer one is not kept."""


class Remembered:
    """The answers used last, by what was asked and for which position.

    An answer for a position never changes, so none gets old. What holds personal data is not
    to be put here: an erasure must not have to look for it.
    """

    def __init__(self) -> None:
        self._answers: OrderedDict[Hashable, bytes] = OrderedDict()
        self._lock = threading.Lock()

    def get(self, question: Hashable) -> bytes | None:
        with self._lock:
            answer = self._answers.get(question)
            if answer is not None:
                self._answers.move_to_end(question)
            return answer

    def put(self, question: Hashable, answer: bytes) -> None:
        if len(answer) > BYTES_MAX:
            return
        with self._lock:
            self._answers[question] = answer
            self._answers.move_to_end(question)
            if len(self._answers) > ANSWERS_MAX:
                self._answers.popitem(last=False)
