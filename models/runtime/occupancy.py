"""How much goes on in a replica at a time, so that what is alone there may use the threads of all."""

import threading


class Occupancy:
    """Counts the pieces of work that go on, each in a `with` block of its own. Safe to use from several threads."""

    def __init__(self) -> None:
        self._lock, self._working = threading.Lock(), 0

    def __enter__(self) -> None:
        with self._lock:
            self._working += 1

    def __exit__(self, *_: object) -> None:
        with self._lock:
            self._working -= 1

    @property
    def alone(self) -> bool:
        """Whether whoever asks, inside its block, is the only one."""
        return self._working == 1
