"""Load on one server: requests one by one, many at once, as many a second as it can bear. Knows no server by name."""

import asyncio
import random
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import cached_property

from bench.client import Answered, Client, post
from bench.processes import cpu_s

FEWEST = 10  # requests of a step: a percentile of fewer says nothing
SLOWEST = 1.0  # requests a second; who cannot bear these is not asked for fewer
LIMIT_S = 0.05  # a worker is full once p95 of the time to the first byte is beyond
STEP = 1.1  # by which the rate of an open loop rises
OVERLOADED = 2000  # requests in flight at which there is no sense in going on


@dataclass(frozen=True, slots=True)
class Shape:
    """What is asked for, and how often a round."""

    name: str
    model: str
    stream: bool
    alone: int  # one after the other: latency
    together: int  # so many, `in_flight` at once: throughput and CPU
    in_flight: int


WHOLE = Shape("not streamed", "loopback", stream=False, alone=60, together=240, in_flight=16)
AT_ONCE = Shape("streamed, in one piece", "loopback", stream=True, alone=60, together=240, in_flight=16)
TRICKLING = Shape("streamed, event by event", "trickling", stream=True, alone=10, together=240, in_flight=64)


@dataclass
class Case:
    """One server asked for one shape, and what came of it."""

    name: str
    url: str
    pid: int
    shape: Shape
    headers: dict[str, str] = field(default_factory=dict)
    expected: bytes = b""  # what every answer must have in it
    first_s: list[float] = field(default_factory=list)
    whole_s: list[float] = field(default_factory=list)
    cpu_s: float = 0.0
    wall_s: float = 0.0
    requests: int = 0
    bearable: list[float] = field(default_factory=list)  # streams a second, of each round
    busy: list[float] = field(default_factory=list)  # and the cores that it had in use then

    @property
    def cpu_ms(self) -> float:
        return self.cpu_s / self.requests * 1000

    @property
    def latency_s(self) -> list[float]:
        """To the first byte of a stream, to the last of any other answer."""
        return self.first_s if self.shape.stream else self.whole_s

    @property
    def rate(self) -> float:
        return self.requests / self.wall_s

    @cached_property
    def request(self) -> bytes:
        messages = [{"role": "user", "content": "How do I make tea?"}]
        body = {"model": self.shape.model, "stream": self.shape.stream, "messages": messages}
        return post(f"{self.url}/v1/chat/completions", body, self.headers)

    def check(self, answered: Answered) -> None:
        assert answered.status == 200, answered.body
        assert self.expected in answered.body, answered.body

    async def warm(self) -> None:
        """Until what is done once has been done."""
        async with Client(self.url) as client:
            for _ in range(4):
                for answered in await asyncio.gather(*(client.ask(self.request) for _ in range(8))):
                    self.check(answered)

    async def round(self) -> None:
        """One by one, then many at once."""
        async with Client(self.url) as client:
            for _ in range(self.shape.alone):
                started = time.perf_counter()
                answered = await client.ask(self.request)
                self.check(answered)
                self.first_s.append(answered.first_byte_at - started)
                self.whole_s.append(answered.ended_at - started)
            places = asyncio.Semaphore(self.shape.in_flight)

            async def one() -> None:
                async with places:
                    self.check(await client.ask(self.request))

            started, cpu = time.perf_counter(), cpu_s(self.pid)
            await asyncio.gather(*(one() for _ in range(self.shape.together)))
            self.cpu_s += cpu_s(self.pid) - cpu
            self.wall_s += time.perf_counter() - started
            self.requests += self.shape.together

    async def ramp(self, seconds: float) -> None:
        """Step up the rate of an open loop until the first byte comes too late."""
        rate, best, busy = 500 / self.cpu_ms, 0.0, 0.0
        while True:
            late, cores = await self._offer(rate, max(seconds, FEWEST / rate))
            if late <= LIMIT_S:
                rate, best, busy = rate * STEP, rate, cores
            elif best or rate < SLOWEST:
                break
            else:
                rate /= 1.5
        self.bearable.append(best or rate)
        self.busy.append(busy)

    async def _offer(self, rate: float, seconds: float) -> tuple[float, float]:
        """p95 of the time to the first byte, in seconds, and the cores in use. Arrivals are a Poisson process.

        Time counts from when a request was due, not from when it left: who is late must not slow down who asks.
        """
        rng = random.Random(f"{rate}")
        waits: list[float] = []
        asked: set[asyncio.Task[None]] = set()
        async with Client(self.url) as client:

            async def one(due: float) -> None:
                answered = await client.ask(self.request)
                self.check(answered)
                waits.append(answered.first_byte_at - due)

            cpu = cpu_s(self.pid)
            due = started = time.perf_counter()
            while due < started + seconds and len(asked) < OVERLOADED:
                if (wait_s := due - time.perf_counter()) > 0:
                    await asyncio.sleep(wait_s)
                task = asyncio.create_task(one(due))
                asked.add(task)
                task.add_done_callback(asked.discard)
                due += rng.expovariate(rate)
            cores = (cpu_s(self.pid) - cpu) / (time.perf_counter() - started)
            overloaded = len(asked) >= OVERLOADED
            await asyncio.gather(*asked)
        if overloaded or len(waits) < 2:  # so slow that nothing came in time is no rate to bear
            return float("inf"), cores
        return percentile(waits, 95), cores


def percentile(values: Sequence[float], which: int) -> float:
    return statistics.quantiles(values, n=100, method="inclusive")[which - 1]
