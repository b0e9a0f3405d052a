"""The thread that decodes: generations come in, go a step at a time, and are gone once they are over.

What cannot be helped ends the process, so that whoever started it starts it anew. One too many for the memory is
given up instead: steps can be repeated, since a generation only counts what a whole step has brought. A step that hangs
cannot be ended from here: `stalled` tells of it.
"""

import os
import queue
import sys
import threading
import time
import traceback
from typing import Protocol

import torch

from corrector.serving.generation import OUT_OF_MEMORY, Generation

# A step may take so long, and so much longer for each token that it reads of a prompt: what is slower is of no use even
# for a model too large for its machine. In its first step a model may compile itself.
STEP_S = 60.0
TOKEN_S = 0.5
FIRST_STEP_S = 600.0


class Decoder(Protocol):
    def step(self, generations: list[Generation]) -> None: ...

    def step_tokens(self, generations: list[Generation]) -> int:
        """At most so many tokens, beside one of each generation, go through the model in the next step."""
        ...


class Worker:
    """`parallel` generations at most are in a step; more wait, in their order."""

    def __init__(self, decoder: Decoder, parallel: int) -> None:
        self._decoder = decoder
        self._parallel = parallel
        self._arriving: queue.SimpleQueue[Generation] = queue.SimpleQueue()
        self._waiting: list[Generation] = []
        self._deadline: float | None = None  # of the step that is on its way
        self._stepped = False
        threading.Thread(target=self._run, name="decoding", daemon=True).start()

    def submit(self, generation: Generation) -> None:
        self._arriving.put(generation)

    def stalled(self) -> bool:
        """Does a step take longer than one that will yet end?"""
        deadline = self._deadline
        return deadline is not None and time.monotonic() > deadline

    def _run(self) -> None:
        generations: list[Generation] = []
        try:
            while True:
                self._admit(generations)
                self._step(generations)
                generations = [one for one in generations if not one.finish and not one.cancelled]
        except BaseException:
            traceback.print_exc(file=sys.stderr)
            os._exit(1)

    def _admit(self, generations: list[Generation]) -> None:
        """Those that have arrived, as far as there are places; with nothing to do, it waits for one."""
        while not self._arriving.empty() or not (generations or self._waiting):
            self._waiting.append(self._arriving.get())
        while self._waiting and len(generations) < self._parallel:
            generations.append(self._waiting.pop(0))

    def _step(self, generations: list[Generation]) -> None:
        going = [one for one in generations if not one.cancelled]
        while going:
            self._deadline = time.monotonic() + self._longest_s(going)
            try:
                self._decoder.step(going)
                self._stepped = True
                return
            except torch.OutOfMemoryError:
                last = going.pop()
                last.cache = None
                last.fail("there is not enough memory for this answer beside the others", OUT_OF_MEMORY)
                torch.cuda.empty_cache()
            finally:
                self._deadline = None

    def _longest_s(self, going: list[Generation]) -> float:
        step_s = STEP_S + TOKEN_S * self._decoder.step_tokens(going)
        return step_s if self._stepped else max(step_s, FIRST_STEP_S)
