"""`make bench-audit`: what an audit trail costs. CPU a request of gateways that keep nothing, metadata, and texts.

CPU is of the whole process: of the answers, and of writing them down behind them.
"""

import asyncio
import contextlib
import tempfile
from pathlib import Path

import click
import uvloop

from bench import Table, machine, servers
from bench.__main__ import OFF
from bench.load import Case, Shape, percentile
from bench.peers import table
from bench.processes import cpu_s

WRITTEN_S = 1.5  # after which the rows of a round are written
LEVELS = ("off", "metadata", "full")
HEAD = "| {0} | `audit` | CPU ms a request | to off | p50 ms | p99 ms | req/s |"
WHOLE = Shape("not streamed", "loopback", stream=False, alone=60, together=600, in_flight=16)
AT_ONCE = Shape("streamed, in one piece", "loopback", stream=True, alone=60, together=600, in_flight=16)


def row(case: Case, level: str, off: Case) -> str:
    return (
        f"| {case.name} | {level} | {case.cpu_ms:.2f} | {case.cpu_ms / off.cpu_ms:.2f}x "
        f"| {percentile(case.latency_s, 50) * 1000:.2f} | {percentile(case.latency_s, 99) * 1000:.2f} "
        f"| {case.rate:.0f} |"
    )


async def round_to_the_end(case: Case) -> None:
    """A round, and what is written down behind its answers."""
    await case.round()
    cpu = cpu_s(case.pid)
    await asyncio.sleep(WRITTEN_S)
    case.cpu_s += cpu_s(case.pid) - cpu


async def measured(rounds: int) -> list[str]:
    lines = []
    async with contextlib.AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = stack.enter_context(servers.upstream()).url
        gateways = [await stack.enter_async_context(servers.gateway(directory, url, audit=level)) for level in LEVELS]
        for shape in (WHOLE, AT_ONCE):
            for name, headers, told in (("pass-through", OFF, b""), ("corrected", {}, b'"verdict":"corrected"')):
                cases = [Case(name, gateway.url, gateway.pid, shape, headers, expected=told) for gateway in gateways]
                for case in cases:
                    await case.warm()
                for _ in range(rounds):
                    for case in cases:
                        await round_to_the_end(case)
                rows = [row(case, level, cases[0]) for case, level in zip(cases, LEVELS, strict=True)]
                lines += table(HEAD.format(shape.name), rows)
    return [f"{machine()}; a trail in SQLite.", "", *lines]


@click.command()
@click.option("--rounds", default=6, show_default=True)
def main(rounds: int) -> None:
    Table("audit").say("\n".join(uvloop.run(measured(rounds))))


if __name__ == "__main__":
    main()
