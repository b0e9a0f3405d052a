"""Ties a command to whoever started it: `python -m corrector.tether COMMAND...`.

For engines that would outlive a gateway that was killed. The starter holds the other end of stdin: once that closes,
or on SIGTERM, the command and all that it started are asked to end, and killed a few seconds later. If the command
ends by itself, its exit code is passed on. Knows nothing of what it runs.
"""

import contextlib
import os
import signal
import subprocess
import sys
import threading
from typing import NoReturn

PATIENCE_S = 4.0


class _Ending(Exception):
    """The starter is gone, or has had enough of it."""


def main() -> None:
    if os.getpgrp() != os.getpid():
        os.setpgrp()  # a group of our own: everything in it can be ended at once, and Ctrl-C is the starter's
    signal.signal(signal.SIGTERM, _end)
    command: subprocess.Popen[bytes] | None = None
    try:
        command = subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL)
        threading.Thread(target=_follow_stdin, daemon=True).start()
        code = command.wait()
    except _Ending:
        _end_group(command)
    except OSError as error:
        sys.exit(f"{sys.argv[1]}: {error.strerror}")
    sys.exit(code if code >= 0 else 128 - code)


def _follow_stdin() -> None:
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass
    os.kill(os.getpid(), signal.SIGTERM)


def _end(*_: object) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # of the group, it is not meant for us
    raise _Ending


def _end_group(command: subprocess.Popen[bytes] | None) -> NoReturn:
    os.killpg(0, signal.SIGTERM)
    if command is not None:
        with contextlib.suppress(subprocess.TimeoutExpired):
            command.wait(PATIENCE_S)
    os.killpg(0, signal.SIGKILL)  # whoever is left, and this process with them
    raise AssertionError("killed by now")


if __name__ == "__main__":
    main()
