"""The transformers engine as a child process: two APIs on its socket, and an end with whoever started it."""

import asyncio
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from corrector.engines.transformers import Options, launch
from corrector.generation import ContextTooLong, Usage, generate, request
from corrector.running import run_dir, served
from tests.conftest import ROOT
from wire.codec import dumps, loads
from wire.endpoint import Endpoint, json_events
from wire.errors import Rejected


@pytest.fixture(scope="module")
async def engine(checkpoint: Path) -> AsyncIterator[Endpoint]:
    options = Options(kind="transformers", model=str(checkpoint), context=8192, parallel=2, threads=1, max_tokens=20)
    async with served("the engine", options, lambda event, **told: None) as endpoint:
        yield endpoint


async def ask(engine: Endpoint, path: str, **body: Any) -> Any:
    opened = await engine.post(path, dumps(body))
    try:
        return loads(await opened.read())
    finally:
        opened.close()


async def stream(engine: Endpoint, path: str, **body: Any) -> list[dict[str, Any]]:
    opened = await engine.post(path, dumps({**body, "stream": True, "stream_options": {"include_usage": True}}))
    try:
        return [event async for event in json_events(opened)]
    finally:
        opened.close()


async def test_a_stream_says_what_the_whole_answer_says(engine: Endpoint) -> None:
    whole = await ask(engine, "/completions", prompt="Edit: ", temperature=0, max_tokens=30)
    *chunks, last = await stream(engine, "/completions", prompt="Edit: ", temperature=0, max_tokens=30)
    assert "".join(chunk["choices"][0]["text"] for chunk in chunks) == whole["choices"][0]["text"]
    assert chunks[-1]["choices"][0]["finish_reason"] == whole["choices"][0]["finish_reason"] == "length"
    assert (last["choices"], last["usage"]) == ([], whole["usage"])
    assert whole["usage"] == {"prompt_tokens": 6, "completion_tokens": 30, "total_tokens": 36}


async def test_messages_are_answered_in_the_models_own_template(engine: Endpoint) -> None:
    messages = [
        {"role": "system", "content": "Be brief"},
        {"role": "user", "content": [{"type": "text", "text": "Hi"}]},
    ]
    rendered = "system: Be brief\nuser: Hi\nassistant:"
    plain = await ask(engine, "/completions", prompt=rendered, temperature=0)
    chat = await ask(engine, "/chat/completions", messages=messages, temperature=0)
    first, *chunks, last = await stream(engine, "/chat/completions", messages=messages, temperature=0)
    assert chat["choices"][0]["message"] == {"role": "assistant", "content": plain["choices"][0]["text"]}
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    told = "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks)
    assert told == chat["choices"][0]["message"]["content"]
    assert last["usage"] == chat["usage"] == plain["usage"]
    assert plain["usage"]["completion_tokens"] == 20, "the engine's own limit, where a request names none"


async def test_a_stop_string_ends_the_answer(engine: Endpoint) -> None:
    whole = (await ask(engine, "/completions", prompt="Edit: ", temperature=0))["choices"][0]["text"]
    stop = whole[5:7]
    stopped = await ask(engine, "/completions", prompt="Edit: ", temperature=0, stop=[stop])
    assert stopped["choices"][0]["text"] == whole[: whole.index(stop)]
    assert stopped["choices"][0]["finish_reason"] == "stop"
    assert stopped["usage"]["completion_tokens"] < 20


async def test_what_cannot_be_done_is_a_400_in_openais_words(engine: Endpoint) -> None:
    for path, body in (
        ("/completions", {"prompt": "x", "n": 2}),
        ("/completions", {"prompt": ""}),
        ("/completions", {"prompt": [999]}),
        ("/chat/completions", {"messages": [{"role": "tool", "content": "x"}]}),
    ):
        with pytest.raises(Rejected) as rejected:
            await ask(engine, path, **body)
        assert rejected.value.status == 400
        assert loads(rejected.value.body)["error"]["type"] == "invalid_request_error"
    with pytest.raises(Rejected) as rejected:
        await engine.post("/completions", b"{")
    assert "not JSON" in loads(rejected.value.body)["error"]["message"]
    with pytest.raises(Rejected) as rejected:
        await engine.post("/embeddings", b"{}")
    assert rejected.value.status == 404


@pytest.mark.parametrize(
    "wish", [{"seed": 2**64}, {"seed": -(10**30)}, {"temperature": 1e-40}, {"top_p": 1e-50}], ids=str
)
async def test_no_wish_ends_the_engine(engine: Endpoint, wish: dict[str, Any]) -> None:
    answer = await ask(engine, "/completions", prompt="Edit: ", max_tokens=3, **wish)
    assert answer["usage"]["completion_tokens"] == 3


async def test_a_prompt_without_room_is_known_as_such(engine: Endpoint) -> None:
    with pytest.raises(ContextTooLong):
        async for _ in generate(engine, request("m", "x" * 8192, 10), 60, Usage()):
            pass
    usage = Usage()
    async for _ in generate(engine, request("m", "x" * 8190, 10), 60, usage):
        pass
    assert (usage.finish_reason, usage.completion_tokens) == ("length", 2)


async def test_an_answer_that_nobody_waits_for_is_given_up(engine: Endpoint) -> None:
    """Two of them fill both places for seconds to come; a third is answered soon all the same."""
    for streamed in (True, False):
        body = dumps({"prompt": "x", "max_tokens": 8000, "temperature": 0, "stream": streamed})
        for _ in range(2):
            asked = asyncio.create_task(engine.post("/completions", body))
            await asyncio.wait({asked}, timeout=0.2)
            if streamed:
                (await asked).close()
            else:
                asked.cancel()
                await asyncio.wait({asked})
        async with asyncio.timeout(3):
            assert (await ask(engine, "/completions", prompt="x", max_tokens=1))["choices"]


def test_options_say_what_is_wrong_with_them(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"no config\.json in it"):
        Options(kind="transformers", model=str(tmp_path))
    with pytest.raises(ValueError, match=r"no adapter_config\.json in it"):
        Options(kind="transformers", model="org/name", adapter="./nowhere")
    assert Options(kind="transformers", model="org/name").model == "org/name"


def test_without_torch_it_says_what_to_install() -> None:
    code = (
        "import sys\nsys.modules['torch'] = None\nfrom corrector.engines.transformers import Options\n"
        "Options(kind='transformers', model='org/name')"
    )
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=False)
    assert "this engine needs torch: .venv/bin/pip install -c constraints.txt -e '.[transformers]'" in ran.stderr


def test_the_gateway_imports_no_torch_for_it() -> None:
    code = "import sys, corrector.engines.transformers; print({'torch', 'transformers'} & set(sys.modules))"
    ran = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    assert ran.stdout.strip() == "set()"


def test_it_ends_with_its_starter(checkpoint: Path) -> None:
    with run_dir() as directory:
        socket = directory / "s.sock"
        launched = launch(Options(kind="transformers", model=str(checkpoint)), socket)
        assert launched is not None
        process = subprocess.Popen(launched.argv, stdin=subprocess.PIPE, cwd=ROOT)
        assert process.stdin is not None
        for _ in range(600):
            if socket.exists():
                break
            time.sleep(0.1)
        process.stdin.close()
        assert process.wait(10) == 0
