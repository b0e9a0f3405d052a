"""Who may ask without a key: whoever is on this machine, but no web page that is open on it."""

import asyncio
import subprocess
import sys
from pathlib import Path

import aiohttp
import pytest

from tests.conftest import OBJECTIVES, Gateway, saying, two_services
from tests.gateway.conftest import Start, World
from tests.gateway.test_cli import METAALIGNER
from tests.gateway.test_serve import ready

EVIL = {
    "Host": "evil.example",
    "Origin": "https://evil.example",
    "Sec-Fetch-Site": "cross-site",
    "Content-Type": "text/plain",
}
ROUTES = (
    ("POST", "/v1/chat/completions"),
    ("POST", "/v1/align"),
    ("POST", "/v1/feedback"),
    ("POST", "/console/api/diff"),
    ("GET", "/v1/models"),
    ("GET", "/v1/objectives"),
)


def itself(gw: Gateway) -> str:
    return gw.url.removeprefix("http://")


async def test_a_web_page_of_others_is_refused_and_nobody_is_asked(world: World) -> None:
    gw, policy, corrector = await world()
    for method, path in ROUTES:
        async with gw.client.request(method, gw.url + path, data=b"{}", headers=EVIL) as response:
            assert (response.status, (await response.json())["error"]["code"]) == (403, "web_page_refused"), path
    assert policy.requests == corrector.requests == []


@pytest.mark.parametrize(
    "said",
    [
        {"Host": "evil.example:8000"},  # its DNS says 127.0.0.1, and a browser tells no origin of a GET to its own page
        {"Host": "evil.example", "Origin": "http://evil.example"},
        {"Origin": "https://evil.example"},
        {"Origin": "http://localhost:3000", "Sec-Fetch-Site": "same-site"},
        {"Origin": "null"},
        {"Origin": "http://["},
        {"Host": "[", "Origin": "http://["},
    ],
)
async def test_whatever_says_that_a_page_is_not_of_here(world: World, said: dict[str, str]) -> None:
    gw, policy, _ = await world()
    assert (await gw.chat(said))[0] == 403
    assert policy.requests == []


@pytest.mark.parametrize(
    "said",
    [
        {},
        {"Host": "localhost:8000"},
        {"Host": "LOCALHOST:8000", "Origin": "http://localhost:8000"},
        {"Host": "[::1]:8000", "Origin": "http://[::1]:8000", "Sec-Fetch-Site": "same-origin"},
        {"Host": "host.docker.internal:8000"},
        {"Host": "gateway:8000"},
        {"Host": "192.168.0.7:8000"},
        {"Origin": "https://gateway.example", "Sec-Fetch-Site": "same-origin"},  # of a proxy that tells our own name
    ],
)
async def test_programs_and_the_console_are_answered(world: World, said: dict[str, str]) -> None:
    gw, _, _ = await world()
    assert (await gw.chat(said))[0] == 200


async def test_the_consoles_own_origin(world: World) -> None:
    gw, _, _ = await world()
    assert (await gw.chat({"Origin": gw.url, "Sec-Fetch-Site": "same-origin"}))[0] == 200
    assert (await gw.chat({"Origin": f"http://{itself(gw)}"}))[0] == 200


@pytest.mark.parametrize("origins", ['["https://app.example"]', '["*"]'])
async def test_pages_that_the_configuration_names_are_answered(world: World, origins: str) -> None:
    gw, _, _ = await world(cors_origins=origins)
    assert (await gw.chat({"Origin": "https://app.example", "Sec-Fetch-Site": "cross-site"}))[0] == 200


async def test_who_has_a_key_is_answered_whatever_the_name(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ACME", "sk-acme")
    gw, _, _ = await world(objectives=OBJECTIVES + "  acme: {keys: [{env: ACME}]}\n")
    said = {"Host": "gateway.example", "Origin": "https://app.example"}
    assert (await gw.chat({**said, "Authorization": "Bearer sk-acme"}))[0] == 200
    assert (await gw.chat(said))[0] == 403


@pytest.mark.parametrize("workers", ["1", "2"])
async def test_allow_anonymous_lets_everybody_in(service: Start, tmp_path: Path, workers: str) -> None:
    """As it is in a container, or behind a proxy."""
    policy = await service(saying("x"))
    (tmp_path / "policies.yaml").write_text(two_services(policy, policy))
    (tmp_path / "objectives.yaml").write_text(OBJECTIVES)
    process = await asyncio.create_subprocess_exec(
        METAALIGNER, "serve", "--port", "0", "--workers", workers, "--allow-anonymous",
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=sys.stderr,
    )  # fmt: skip
    try:
        async with asyncio.timeout(60):
            url, _ = await ready(process)
            async with aiohttp.ClientSession() as client, client.get(f"{url}/v1/models", headers=EVIL) as response:
                assert response.status == 200
    finally:
        process.terminate()
        await process.communicate()
