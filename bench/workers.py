"""`make bench-workers`: what a second worker brings. Requests a second and CPU a request, with 1 and with 2 workers.

On a machine of few cores, whoever asks and whoever answers upstream need some too: their share is told beside each
rate, and where all cores are in use the rate says what the machine can do, not what the workers could.
"""

import contextlib
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import click
import uvloop

from bench import Table, machine, servers
from bench.__main__ import OFF
from bench.load import Case, Shape
from bench.peers import table
from bench.processes import cpu_s, resident_mb
from bench.servers import Server

HEAD = "| {0} | workers | req/s | to one worker | CPU ms a request | cores: gateway | upstream | client |"
BUSY = Shape("not streamed", "loopback", stream=False, alone=0, together=600, in_flight=32)
BUSY_STREAM = Shape("streamed, in one piece", "loopback", stream=True, alone=0, together=600, in_flight=32)


@dataclass
class Shared:
    """One case, and the cores that those beside it had in use."""

    case: Case
    workers: int
    upstream: Server
    upstream_s: float = 0.0
    client_s: float = 0.0
    wall_s: float = 0.0

    async def round(self) -> None:
        upstream_s, client_s, started = cpu_s(self.upstream.pid), time.process_time(), time.perf_counter()
        await self.case.round()
        self.upstream_s += cpu_s(self.upstream.pid) - upstream_s
        self.client_s += time.process_time() - client_s
        self.wall_s += time.perf_counter() - started

    def row(self, one: "Shared") -> str:
        case = self.case
        return (
            f"| {case.name} | {self.workers} | {case.rate:.0f} | {case.rate / one.case.rate:.2f}x | {case.cpu_ms:.2f} "
            f"| {case.cpu_s / case.wall_s:.2f} | {self.upstream_s / self.wall_s:.2f} "
            f"| {self.client_s / self.wall_s:.2f} |"
        )


async def measured(rounds: int) -> list[str]:
    lines = []
    async with contextlib.AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        upstream = stack.enter_context(servers.upstream())
        gateways = [
            (workers, await stack.enter_async_context(servers.gateway(directory, upstream.url, workers)))
            for workers in (1, 2)
        ]
        for shape in (BUSY, BUSY_STREAM):
            for name, headers, told in (("pass-through", OFF, b""), ("corrected", {}, b'"verdict":"corrected"')):
                asked = [
                    Shared(Case(name, gateway.url, gateway.pid, shape, headers, expected=told), workers, upstream)
                    for workers, gateway in gateways
                ]
                for shared in asked:
                    await shared.case.warm()
                for _ in range(rounds):
                    for shared in asked:
                        await shared.round()
                lines += table(HEAD.format(shape.name), [shared.row(asked[0]) for shared in asked])
        memory = [f"{resident_mb(gateway.pid):.0f} MB with {workers}" for workers, gateway in gateways]
        lines += [f"Resident, all processes of a gateway: {', '.join(memory)}."]
    return [f"{machine()}.", "", *lines]


@click.command()
@click.option("--rounds", default=4, show_default=True)
def main(rounds: int) -> None:
    Table("workers").say("\n".join(uvloop.run(measured(rounds))))


if __name__ == "__main__":
    main()
