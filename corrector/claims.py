"""Engines in use, across processes: whoever calls one holds a shared lock beside its socket.

The lock of a process that was killed goes with it, so nothing is kept for the dead. Knows nothing of what runs there.
"""

import fcntl
from collections.abc import Iterable
from pathlib import Path


class Claim:
    """Keeps engines running, whichever process they are of, until it is closed."""

    def __init__(self, sockets: Iterable[Path]) -> None:
        self._locks = [_lock(socket).open("ab") for socket in set(sockets)]
        for lock in self._locks:
            fcntl.flock(lock, fcntl.LOCK_SH)  # there at once: `claimed` lets go of what it gets

    def close(self) -> None:
        for lock in self._locks:
            lock.close()


def claimed(socket: Path) -> bool:
    """Does anybody hold a claim to the engine, in this process or another?"""
    with _lock(socket).open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return True
    return False


def _lock(socket: Path) -> Path:
    return socket.with_suffix(".lock")
