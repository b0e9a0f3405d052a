"""What every kind of engine that the gateway starts keeps to, for real: whatever files are in `corrector/engines`.

All of them run the embedded corrector: SmolLM2 with the adapter that ships, on llama.cpp from its GGUF files, elsewhere
from the very same weights as safetensors and as PEFT's folder. One engine a kind serves all tests, and the last of
them kills it. vLLM's tests run where vLLM is: `make test-vllm`.
"""

import asyncio
import contextlib
import difflib
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from bench.weights import adapter_folder, base_folder
from corrector import engines
from corrector.engines import EngineOptions, socket_path
from corrector.generation import ContextTooLong, Usage, generate, request
from corrector.objectives import Objective
from corrector.running import endpoint_of, run_dir
from corrector.supervisor import Supervisor
from corrector.templates import Prompt, Turn, chat
from tests.conftest import ROOT
from wire.codec import dumps, loads
from wire.endpoint import Endpoint, json_events

VLLM = next(filter(None, (shutil.which(str(ROOT / "build/vllm/bin/vllm")), shutil.which("vllm"))), None)
SLOTS = 4  # answers at once
BASE, ADAPTER = ROOT / base_folder(), ROOT / adapter_folder()
# What any kind is given of this, as far as it has such options; and what one kind needs besides.
ANY = {"model": str(BASE), "adapter": str(ADAPTER), "context": 2048, "parallel": SLOTS, "dtype": "float32"}
NEEDS: dict[str, dict[str, Any]] = {
    "llamacpp": {"model": "smollm2-135m-instruct", "adapter": "smollm2-135m-editor"},
    "vllm": {
        "executable": VLLM,
        "options": {
            "dtype": "float32",
            "enforce_eager": True,
            "kv_cache_memory_bytes": 1_000_000_000,
            "max_num_seqs": SLOTS,
        },
    },
}
MISSING = {} if VLLM else {"vllm": "vllm is not installed: `make test-vllm`"}

AIMS = (Objective(key="length", name="Length", description="The response should be concise"),)
DRAFTS = (
    "Tea is made with hot water. Tea is made with hot water. You put the leaves in the pot and wait.",
    "The moon goes around the earth in about 27 days. It is smaller than the earth.",
    "To boil an egg, put it into boiling water for eight minutes. Then cool it. Enjoy your your egg.",
)
COUNTING = "1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21,"


def options(kind: str, **more: Any) -> EngineOptions:
    made = engines.load(kind).Options
    given = {"kind": kind, **ANY, **NEEDS.get(kind, {}), **more}
    return made.model_validate({name: value for name, value in given.items() if name in made.model_fields})


def correction(draft: str) -> Prompt:
    return chat.render((Turn("user", "How is it?"),), draft, AIMS)


def launching() -> Iterator[Any]:
    """Every kind that starts something; those that lack their program say so."""
    for kind in engines.kinds():
        if "base_url" not in engines.load(kind).Options.model_fields:
            reason = MISSING.get(kind, "")
            yield pytest.param(kind, marks=pytest.mark.skipif(bool(reason), reason=reason))


@dataclass
class Answer:
    text: str = ""
    pieces: int = 0
    first_s: float = 0.0
    last_s: float = 0.0
    finish_reason: str | None = None
    tokens: int = 0


@dataclass
class Running:
    """An engine under its supervisor, and what its log was told."""

    options: EngineOptions
    supervisor: Supervisor
    endpoint: Endpoint
    lines: list[dict[str, Any]] = field(default_factory=list)

    async def ask(self, prompt: Prompt, max_tokens: int, **more: Any) -> Answer:
        answer, started = Answer(), time.monotonic()
        async for piece, event in self.events(prompt, max_tokens, **more):
            if piece:
                answer.first_s = answer.first_s or time.monotonic() - started
                answer.last_s = time.monotonic() - started
                answer.pieces += 1
                answer.text += piece
            answer.finish_reason = (event.get("choices") or [{}])[0].get("finish_reason") or answer.finish_reason
            answer.tokens = (event.get("usage") or {}).get("completion_tokens") or answer.tokens
        return answer

    async def events(self, prompt: Prompt, max_tokens: int, **more: Any) -> AsyncIterator[tuple[str, dict[str, Any]]]:
        path, body = request(self.options.model, prompt, max_tokens)
        opened = await self.endpoint.post(path, dumps({**body, **more}))
        try:
            assert opened.streamed
            async for event in json_events(opened):
                told: Any = event
                choice = (told.get("choices") or [{}])[0]
                yield choice.get("text") or (choice.get("delta") or {}).get("content") or "", told
        finally:
            opened.close()


@contextlib.asynccontextmanager
async def started(made: EngineOptions) -> AsyncIterator[Running]:
    lines: list[dict[str, Any]] = []
    with run_dir() as directory:
        supervisor = Supervisor(directory, lambda event, **told: lines.append({"event": event, **told}))
        endpoint = endpoint_of(made.kind, made, directory, 120.0)
        try:
            assert await supervisor.ensure([made]), lines
            yield Running(made, supervisor, endpoint, lines)
        finally:
            await endpoint.aclose()
            await supervisor.aclose()


@pytest.fixture(scope="session")
def weights() -> None:
    """The embedded model and its adapter as folders, made once: by a process of its own, for what torch takes."""
    pytest.importorskip("torch", reason="the extra `train` is not installed")
    if not (BASE.exists() and (ADAPTER / "adapter_config.json").exists()):
        argv = [sys.executable, "-W", "ignore", "-m", "bench.weights"]
        subprocess.run(argv, cwd=ROOT, check=True, capture_output=True)


@pytest.fixture(scope="session", params=launching())
def kind(request: pytest.FixtureRequest) -> str:
    named = str(request.param)
    if NEEDS.get(named, {}).get("model") is None:
        request.getfixturevalue("weights")
    return named


@pytest.fixture(scope="session")
async def engine(kind: str) -> AsyncIterator[Running]:
    async with started(options(kind)) as running:
        yield running


@pytest.fixture(scope="session")
async def corrections() -> list[str]:
    """As llama.cpp writes them: every other kind is held against these."""
    async with started(options("llamacpp")) as running:
        return [(await running.ask(correction(draft), 40)).text for draft in DRAFTS]


async def test_an_answer_comes_in_pieces(engine: Running) -> None:
    answer = await engine.ask(COUNTING, 32)
    assert answer.pieces >= 16
    assert answer.last_s > 1.5 * answer.first_s or answer.last_s - answer.first_s > 0.05
    assert (answer.finish_reason, answer.tokens) == ("length", 32)


@pytest.mark.parametrize("prompt", [COUNTING, correction(DRAFTS[0])], ids=["a text", "messages"])
async def test_in_one_piece_it_is_the_same_answer(engine: Running, prompt: Prompt) -> None:
    streamed = await engine.ask(prompt, 8)
    path, body = request(engine.options.model, prompt, 8)
    opened = await engine.endpoint.post(path, dumps({**body, "stream": False, "stream_options": None}))
    told: Any = loads(await opened.read())
    opened.close()
    choice = told["choices"][0]
    assert (choice.get("text") or choice["message"]["content"]) == streamed.text
    assert choice["finish_reason"] == streamed.finish_reason == "length"
    assert told["usage"]["completion_tokens"] == 8
    assert told["usage"]["prompt_tokens"] > 20


async def test_it_stops_before_a_string(engine: Running) -> None:
    whole = (await engine.ask(COUNTING, 32)).text
    stop = whole.split()[5]
    answer = await engine.ask(COUNTING, 32, stop=[stop])
    assert answer.text == whole[: whole.index(stop)]
    assert answer.finish_reason == "stop"


async def test_a_prompt_that_does_not_fit_is_refused_in_words(engine: Running) -> None:
    asked = request(engine.options.model, COUNTING * 200, 16)
    with pytest.raises(ContextTooLong):
        async for _ in generate(engine.endpoint, asked, 60.0, Usage()):
            pass


async def test_each_answer_has_the_context_that_is_promised(kind: str) -> None:
    """With all places taken, too: by prompts that leave little of it, and answers that take nearly the rest."""
    async with started(options(kind, context=256)) as small:
        answers = await asyncio.gather(*(small.ask(f"{n}. {COUNTING * 2}", 100) for n in range(SLOTS)))
    assert [(answer.finish_reason, answer.tokens) for answer in answers] == [("length", 100)] * SLOTS


async def test_who_goes_away_frees_the_engine(engine: Running) -> None:
    """All places taken by long answers whose clients leave: who comes then does not wait for their ends."""
    alone = await engine.ask(COUNTING, 16)
    streams = [engine.events(f"{n}. {COUNTING}", 1500) for n in range(SLOTS)]
    firsts = await asyncio.gather(*(anext(stream) for stream in streams))
    assert not any((event["choices"][0].get("finish_reason")) for _, event in firsts)
    for stream in streams:
        await stream.aclose()  # type: ignore[attr-defined]
    next_one = await engine.ask(COUNTING, 16)
    assert next_one.text == alone.text
    assert next_one.last_s < alone.last_s + 5  # the long ones would take a minute and more


async def test_many_at_once(engine: Running) -> None:
    """Four times as many as there are places. Batched sums are rounded otherwise: now and then a token differs."""
    prompts = [f"{COUNTING} {n}" for n in range(4 * SLOTS)]
    alone = [await engine.ask(prompt, 12) for prompt in prompts]
    together = await asyncio.gather(*(engine.ask(prompt, 12) for prompt in prompts))
    assert all((one.finish_reason, one.tokens) == ("length", 12) for one in together)
    assert sum(one.text == other.text for one, other in zip(alone, together, strict=True)) >= 3 * SLOTS


async def test_the_same_corrections_as_llama_cpp(engine: Running, corrections: list[str]) -> None:
    """Greedy, from the same weights. llama.cpp rounds activations to 8 bits: texts may part, but not at the start."""
    for draft, theirs in zip(DRAFTS, corrections, strict=True):
        ours = (await engine.ask(correction(draft), 40)).text
        assert ours.split()[:4] == theirs.split()[:4], (ours, theirs)
        assert difflib.SequenceMatcher(None, ours.split(), theirs.split()).ratio() >= 0.8, (ours, theirs)


async def test_an_adapter_changes_the_answer(engine: Running) -> None:
    adapted = [(await engine.ask(correction(draft), 40)).text for draft in DRAFTS]
    async with started(options(engine.options.kind, adapter=None)) as plain:
        assert [(await plain.ask(correction(draft), 40)).text for draft in DRAFTS] != adapted


async def test_it_ends_when_its_starter_is_gone(engine: Running) -> None:
    """Also while it starts: the gateway was killed, and nobody is left to stop it."""
    with run_dir() as directory:
        launch = engines.load(engine.options.kind).launch(engine.options, socket_path(directory, engine.options))
        assert launch is not None
        process = await asyncio.create_subprocess_exec(
            *launch.argv, stdin=asyncio.subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
            env={**os.environ, **launch.env}, start_new_session=True,
        )  # fmt: skip
        await asyncio.sleep(2)
        assert process.returncode is None
        assert process.stdin is not None
        process.stdin.close()
        await asyncio.wait_for(process.wait(), 30)
        assert await _gone(process.pid)


async def test_one_that_cannot_start_says_why(engine: Running, tmp_path: Path) -> None:
    broken = tmp_path / "broken.gguf"
    if "model" in NEEDS.get(engine.options.kind, {}):
        broken.write_bytes(b"GGUF" + b"\1" * 4000)
    else:
        shutil.copytree(BASE, broken)
        (broken / "model.safetensors").write_bytes(b"\1" * 4000)
    lines: list[dict[str, Any]] = []
    supervisor = Supervisor(tmp_path, lambda event, **told: lines.append({"event": event, **told}))
    starting = asyncio.create_task(supervisor.ensure([options(engine.options.kind, model=str(broken), adapter=None)]))
    try:
        async with asyncio.timeout(300):
            while not (died := [line for line in lines if line["event"] == "engine.died"]):
                await asyncio.sleep(0.05)
    finally:
        starting.cancel()
        await supervisor.aclose()
    assert died[0]["code"] != 0
    assert any(word in died[0]["said"].lower() for word in ("error", "fail", "invalid")), died


async def test_it_comes_back_after_a_kill(engine: Running) -> None:
    before = await engine.ask(COUNTING, 16)
    [pid] = engine.supervisor.pids().values()
    os.kill(pid, signal.SIGKILL)
    while not any(line["event"] == "engine.died" for line in engine.lines):
        await asyncio.sleep(0.02)
    assert await _gone(pid)
    assert await engine.supervisor.ensure([engine.options])
    assert [pid] != list(engine.supervisor.pids().values())
    assert (await engine.ask(COUNTING, 16)).text == before.text
    assert [line["event"] for line in engine.lines if line["event"] != "engine.starting"] == [
        "engine.ready", "engine.died", "engine.ready",
    ]  # fmt: skip


async def _gone(group: int) -> bool:
    """Has everything that was started with it ended too?"""
    for _ in range(200):
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        await asyncio.sleep(0.05)
    return False
