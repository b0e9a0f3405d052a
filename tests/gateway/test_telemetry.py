"""A log that cannot be written stops nobody."""

import errno
import io
import json
import sys
from collections.abc import Iterator

import pytest
import structlog

from gateway.telemetry import configure_logging


@pytest.fixture(autouse=True)
def _own_configuration() -> Iterator[None]:
    yield
    structlog.reset_defaults()


class Broken(io.StringIO):
    """A stdout that fails while there is something to fail with."""

    failure: Exception | None = None

    def flush(self) -> None:
        if self.failure is not None:
            raise self.failure


@pytest.mark.parametrize(
    "failure",
    [OSError(errno.ENOSPC, "no space"), BrokenPipeError(errno.EPIPE, "nobody"), OSError(errno.EIO, "hung up"),
     ValueError("I/O operation on closed file")],
    ids=repr,
)  # fmt: skip
def test_a_log_that_cannot_be_written_stops_nobody(failure: Exception, monkeypatch: pytest.MonkeyPatch) -> None:
    stdout = Broken()
    monkeypatch.setattr(sys, "stdout", stdout)
    configure_logging()
    log = structlog.get_logger().bind(process="own")
    stdout.failure = failure
    for say in (log.info, log.warning, log.error):
        say("lost", x=1)
    try:
        raise KeyError("x")
    except KeyError:
        log.exception("unexpected")
    stdout.failure = None
    log.info("seen")
    line = json.loads(stdout.getvalue().splitlines()[-1])
    assert (line["event"], line["process"], line["level"]) == ("seen", "own", "info")
