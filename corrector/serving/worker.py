"""The thread that decodes: rows come in, go a step at a time, and are gone once they are over.

What cannot be helped ends the process, so that whoever started it starts it anew. A row too many for the memory is
given up instead: steps can be repeated, since a row only counts what a whole step has brought.
"""

import os
import queue
import sys
import threading
import traceback
from collections.abc import Sequence
from typing import Protocol

import torch

from corrector.serving.row import OUT_OF_MEMORY, Row


class Decoder(Protocol):
    def step(self, rows: Sequence[Row]) -> None: ...


class Worker:
    """`parallel` rows at most are in a step; more wait, in their order."""

    def __init__(self, decoder: Decoder, parallel: int) -> None:
        self._decoder = decoder
        self._parallel = parallel
        self._arriving: queue.SimpleQueue[Row] = queue.SimpleQueue()
        self._waiting: list[Row] = []
        threading.Thread(target=self._run, name="decoding", daemon=True).start()

    def submit(self, row: Row) -> None:
        self._arriving.put(row)

    def _run(self) -> None:
        rows: list[Row] = []
        try:
            while True:
                self._admit(rows)
                self._step(rows)
                rows = [row for row in rows if not row.finish and not row.cancelled]
        except BaseException:
            traceback.print_exc(file=sys.stderr)
            os._exit(1)

    def _admit(self, rows: list[Row]) -> None:
        """Rows that have arrived, as far as there are places; with nothing to do, it waits for one."""
        while not self._arriving.empty() or not (rows or self._waiting):
            self._waiting.append(self._arriving.get())
        while self._waiting and len(rows) < self._parallel:
            rows.append(self._waiting.pop(0))

    def _step(self, rows: list[Row]) -> None:
        going = [row for row in rows if not row.cancelled]
        while going:
            try:
                return self._decoder.step(going)
            except torch.OutOfMemoryError:
                last = going.pop()
                last.state = None
                last.fail("there is not enough memory for this answer beside the others", OUT_OF_MEMORY)
                torch.cuda.empty_cache()
        return None
