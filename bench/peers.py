"""`make bench-peers`: the gateway, the bare floor and the LiteLLM proxy, in one run.

One worker each, the same client, the same upstream process, asked in turns. Writes a JSON of what was measured and
tables in Markdown. Read the ratios: first what LiteLLM's proxy needs to what this one does, then this one to the floor,
and, of one that corrects, to the floor that corrects.
"""

import contextlib
import json
import statistics
import tempfile
from dataclasses import asdict
from pathlib import Path

import click
import uvloop

from bench import Table, machine, servers
from bench.__main__ import CORRECTING, cases, rounds
from bench.load import AT_ONCE, LIMIT_S, TRICKLING, WHOLE, Case, Shape, percentile
from bench.processes import resident_mb
from bench.servers import Server

PEER = "LiteLLM proxy"
COST = (
    "| {0} | LiteLLM to it | it to the floor | to the floor, correcting | CPU ms a request | p50 ms | p99 ms | req/s |"
)
STREAMS = "| {0} | it to LiteLLM | streams a second | lowest and highest round | cores in use |"
PROCESS = "| | LiteLLM to it | resident MB | seconds to start |"


def cost(shape: Shape, asked: list[Case]) -> list[str]:
    """CPU, latency and throughput. Latency of a stream is to its first byte."""
    floor, peer = asked[0].cpu_ms, asked[-1].cpu_ms
    corrects = next(case.cpu_ms for case in asked if case.name == CORRECTING)
    rows = []
    for case in asked:
        p50, p99 = (percentile(case.latency_s, which) * 1000 for which in (50, 99))
        like = f"{case.cpu_ms / corrects:.2f}x" if case.name in (CORRECTING, "corrected") else "-"
        rows.append(
            f"| {case.name} | {peer / case.cpu_ms:.1f}x | {case.cpu_ms / floor:.2f}x | {like} | {case.cpu_ms:.2f} "
            f"| {p50:.2f} | {p99:.2f} | {case.rate:.0f} |"
        )
    return table(COST.format(shape.name), rows)


def streams(shape: Shape, asked: list[Case]) -> list[str]:
    """Of one worker, before p95 of the time to the first byte passes the limit."""
    peer = statistics.median(asked[-1].bearable)
    rows = []
    for case in asked:
        middle, lowest, highest = statistics.median(case.bearable), min(case.bearable), max(case.bearable)
        rows.append(
            f"| {case.name} | {middle / peer:.1f}x | {middle:.0f} | {lowest:.0f} to {highest:.0f} "
            f"| {statistics.median(case.busy):.2f} |"
        )
    return table(STREAMS.format(shape.name), rows)


def processes(told: dict[str, Server]) -> list[str]:
    memory = {name: resident_mb(server.pid) for name, server in told.items()}
    rows = [
        f"| {name} | {memory[PEER] / memory[name]:.1f}x | {memory[name]:.0f} | {server.start_s:.1f} |"
        for name, server in told.items()
    ]
    return table(PROCESS, rows)


def table(head: str, rows: list[str]) -> list[str]:
    return [head, "|" + " --- |" * (head.count("|") - 1), *rows, ""]


def with_peer(floor: Server, gateway: Server, peer: Server, shape: Shape) -> list[Case]:
    """The floor first, the peer last."""
    ours = cases(floor, gateway, shape)
    return [*ours, Case(PEER, peer.url, peer.pid, shape, expected=ours[0].expected)]


async def measured(home: Path, count: int, ramps: int, seconds: float) -> tuple[list[Case], list[str]]:
    async with contextlib.AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = stack.enter_context(servers.upstream()).url
        floor = await stack.enter_async_context(servers.floor(directory, url))
        gateway = await stack.enter_async_context(servers.gateway(directory, url))
        peer = await stack.enter_async_context(servers.litellm(directory, url, home))
        every: list[Case] = []
        costs: list[str] = []
        bearable: list[str] = []
        for shape in (WHOLE, AT_ONCE, TRICKLING):
            asked = with_peer(floor, gateway, peer, shape)
            every += asked
            await rounds(asked, count)
            costs += cost(shape, asked)
            if shape.stream:
                offered = [case for case in asked if case.name != CORRECTING]  # it waits for the policy's last word
                for _ in range(ramps):
                    for case in offered:
                        await case.ramp(seconds)
                bearable += streams(shape, offered)
        told = processes({"bare floor": floor, "gateway": gateway, PEER: peer})
    head = f"{machine()}; LiteLLM {servers.litellm_version(home)}. One worker each."
    limit = f"Streams a second of one worker before p95 of the time to the first byte passes {LIMIT_S * 1000:.0f} ms:"
    return every, [head, "", *costs, limit, "", *bearable, *told]


@click.command()
@click.option("--home", default="build/peers", show_default=True, type=click.Path(path_type=Path, exists=True))
@click.option("--rounds", "count", default=4, show_default=True)
@click.option("--ramps", default=2, show_default=True)
@click.option("--seconds", default=2.0, show_default=True, help="Of each step of a ramp.")
def main(home: Path, count: int, ramps: int, seconds: float) -> None:
    asked, lines = uvloop.run(measured(home, count, ramps, seconds))
    Table("peers").say("\n".join(lines))
    keys = ("name", "shape", "requests", "cpu_s", "wall_s", "first_s", "whole_s", "bearable", "busy")
    told = [{key: asdict(case)[key] for key in keys} for case in asked]
    Path("build/bench/peers.json").write_text(json.dumps({"machine": machine(), "cases": told}))


if __name__ == "__main__":
    main()
