"""`make bench`: CPU a request, p50, p99 and requests a second, of the gateway and of the bare floor.

All servers run at the same time, each in a process of its own, and are asked in turns, so that what
else the machine does falls on all of them alike. Read the ratios to the floor, not the milliseconds.
"""

import asyncio
import contextlib
import os
import re
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from bench import machine
from bench.processes import answering, free_port, process

ROUNDS = 6
ALONE = 60  # requests a round, one after the other: latency
TOGETHER = 240  # requests a round, IN_FLIGHT at once: throughput and CPU
IN_FLIGHT = 16

POLICIES = """
policies:
  loopback: {{kind: openai, base_url: "{url}", corrector: instant, retries: 0}}
correctors:
  instant: {{engine: {{kind: endpoint, base_url: "{url}", model: instant}}, template: ultrafeedback}}
"""
OBJECTIVES = """
objectives:
  helpfulness: The response should provide useful resources and suggestions to the user
tenants:
  public: {keys: none, objectives: [helpfulness], allow_off: true}
"""


@dataclass
class Case:
    name: str
    url: str
    pid: int
    stream: bool
    headers: dict[str, str] = field(default_factory=dict)
    latencies_s: list[float] = field(default_factory=list)
    cpu_s: float = 0.0
    wall_s: float = 0.0
    requests: int = 0

    async def ask(self, client: aiohttp.ClientSession) -> float:
        body = {"model": "loopback", "stream": self.stream, "messages": [{"role": "user", "content": "Tea?"}]}
        started = time.perf_counter()
        async with client.post(f"{self.url}/v1/chat/completions", json=body, headers=self.headers) as response:
            answer = await response.read()
        assert response.status == 200, answer
        assert (b'"verdict":"corrected"' in answer) == ("corrected" in self.name), answer
        return time.perf_counter() - started

    async def round(self, client: aiohttp.ClientSession) -> None:
        for _ in range(ALONE):
            self.latencies_s.append(await self.ask(client))
        places = asyncio.Semaphore(IN_FLIGHT)

        async def one() -> None:
            async with places:
                await self.ask(client)

        started, cpu = time.perf_counter(), cpu_s(self.pid)
        await asyncio.gather(*(one() for _ in range(TOGETHER)))
        self.cpu_s += cpu_s(self.pid) - cpu
        self.wall_s += time.perf_counter() - started
        self.requests += TOGETHER


def cpu_s(pid: int) -> float:
    """Seconds of CPU that the process has used, user and system."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def resident_mb(pid: int) -> float:
    found = re.search(r"VmRSS:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text())
    return int(found.group(1)) / 1024 if found else 0.0


def line(case: Case, floor: Case) -> str:
    ordered = sorted(case.latencies_s)
    each = case.cpu_s / case.requests
    return (
        f"{case.name:<24}{each * 1000:>8.2f} ms {each / (floor.cpu_s / floor.requests):>6.1f}x"
        f"{ordered[len(ordered) // 2] * 1000:>9.2f} ms{ordered[int(len(ordered) * 0.99)] * 1000:>9.2f} ms"
        f"{case.requests / case.wall_s:>9.0f}"
    )


async def main() -> None:
    with contextlib.ExitStack() as stack:
        python = (sys.executable, "-m")
        upstream = stack.enter_context(process(*python, "bench.upstream"))
        assert upstream.stdout is not None
        url = f"http://127.0.0.1:{int(upstream.stdout.readline())}/v1"
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        policies, objectives = directory / "policies.yaml", directory / "objectives.yaml"
        policies.write_text(POLICIES.format(url=url))
        objectives.write_text(OBJECTIVES)
        ports = [str(free_port()), str(free_port())]
        quiet = ("--no-access-log", "--log-level", "error")
        floor = stack.enter_context(
            process(*python, "uvicorn", "bench.floor:app", "--port", ports[0], *quiet, UPSTREAM=url)
        )
        log = stack.enter_context((directory / "log").open("w"))
        files = ("--policies", str(policies), "--objectives", str(objectives))
        metaaligner = str(Path(sys.executable).parent / "metaaligner")
        gateway = stack.enter_context(process(metaaligner, "serve", "--port", ports[1], *files, stdout=log))
        at = [f"http://127.0.0.1:{port}" for port in ports]
        off = {"X-Align-Mode": "off"}
        cases = [
            case
            for stream, suffix in ((False, ""), (True, ", streamed"))
            for case in (
                Case(f"bare floor{suffix}", at[0], floor.pid, stream),
                Case(f"pass-through{suffix}", at[1], gateway.pid, stream, off),
                Case(f"corrected{suffix}", at[1], gateway.pid, stream),
            )
        ]
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as client:
            for base in at:
                await answering(base)
            for case in cases:  # warm
                for _ in range(20):
                    await case.ask(client)
            for _ in range(ROUNDS):
                for case in cases:
                    await case.round(client)
        print(machine())
        print(f"{'':<24}{'CPU/request':>11}{'floor':>8}{'p50':>11}{'p99':>12}{'req/s':>9}")
        for case in cases:
            print(line(case, cases[3] if case.stream else cases[0]))
        print(f"gateway, resident: {resident_mb(gateway.pid):.0f} MB")


if __name__ == "__main__":
    asyncio.run(main())
