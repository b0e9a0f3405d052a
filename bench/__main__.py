"""`make bench`: CPU a request, p50, p99 and requests a second, of the gateway and of the bare floors.

All servers run at the same time, each in a process of its own, and are asked in turns, so that what else the machine
does falls on all of them alike. Read the ratios to the floor, not the milliseconds. Latency is to the last byte, of a
stream to the first.
"""

import contextlib
import tempfile
from pathlib import Path

import uvloop

from bench import machine, servers
from bench.load import AT_ONCE, TRICKLING, WHOLE, Case, Shape, percentile
from bench.processes import resident_mb
from bench.servers import Server

ROUNDS = 6
OFF = {"X-Align-Mode": "off"}
CORRECTING = "bare floor, correcting"


def cases(floor: Server, gateway: Server, shape: Shape) -> list[Case]:
    """The floor first; then what can be done on it at the least where an answer is corrected, and the gateway."""
    ended = b"[DONE]" if shape.stream else b'"stop"'
    return [
        Case("bare floor", floor.url, floor.pid, shape, expected=ended),
        Case(CORRECTING, f"{floor.url}/corrected", floor.pid, shape, expected=b"t to stand for"),
        Case("pass-through", gateway.url, gateway.pid, shape, OFF, expected=ended),
        Case("corrected", gateway.url, gateway.pid, shape, expected=b'"verdict":"corrected"'),
    ]


async def rounds(asked: list[Case], count: int) -> None:
    """In turns, after some that count for nothing."""
    for case in asked:
        await case.warm()
    for _ in range(count):
        for case in asked:
            await case.round()


def line(case: Case, floor: Case) -> str:
    return (
        f"{case.name:<24}{case.cpu_ms:>8.2f} ms {case.cpu_ms / floor.cpu_ms:>6.1f}x"
        f"{percentile(case.latency_s, 50) * 1000:>9.2f} ms{percentile(case.latency_s, 99) * 1000:>9.2f} ms"
        f"{case.rate:>9.0f}"
    )


async def main() -> None:
    async with contextlib.AsyncExitStack() as stack:
        directory = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        url = stack.enter_context(servers.upstream()).url
        floor = await stack.enter_async_context(servers.floor(directory, url))
        gateway = await stack.enter_async_context(servers.gateway(directory, url))
        print(machine())
        print(f"{'':<24}{'CPU/request':>11}{'floor':>8}{'p50':>11}{'p99':>12}{'req/s':>9}")
        for shape in (WHOLE, AT_ONCE, TRICKLING):
            asked = cases(floor, gateway, shape)
            await rounds(asked, ROUNDS)
            print(f"{shape.name}:")
            for case in asked:
                print(line(case, asked[0]))
        print(f"gateway, resident: {resident_mb(gateway.pid):.0f} MB")


if __name__ == "__main__":
    uvloop.run(main())
