"""Why an engine died, found in what it printed: real endings of vLLM, of Python programs, of argparse, of llama.cpp."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from corrector.output import KEPT_LINES, LONGEST_CAUSE, LONGEST_LINE, Output

API, CORE = (
    "(APIServer pid=7) ERROR 11-25 22:59:31 [core_client.py:11] ",
    "(EngineCore pid=9) ERROR 11-25 22:59:31 [c.py:2] ",
)
ENDINGS = [
    (["one", "two"], "two"),
    ([], ""),
    (
        ["Traceback (most recent call last):", "  raise it", "ValueError: 3 is no head size"],
        "ValueError: 3 is no head size",
    ),
    (
        [
            f"{CORE}EngineCore failed to start.",
            f"{CORE}torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB",
            f"{CORE}Exception: WorkerProc initialization failed. See stack trace for root cause.",
            f"{API}RuntimeError: Engine core initialization failed. See root cause above. Failed core proc(s): {{}}",
            "[rank0]: some last words",
        ],
        "torch.OutOfMemoryError: CUDA out of memory. Tried to allocate 2 GiB",
    ),
    (
        [
            "pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig",
            "  Value error, User-specified max_model_len (9000) is greater than the derived max_model_len",
            "    For further information visit a page",
        ],
        "pydantic_core._pydantic_core.ValidationError: 1 validation error for ModelConfig "
        "Value error, User-specified max_model_len (9000) is greater than the derived max_model_len",
    ),
    (
        ["usage: vllm serve [model_tag] [options]", "vllm serve: error: unrecognized arguments: --no-such-option"],
        "vllm serve: error: unrecognized arguments: --no-such-option",
    ),
    (
        ["llama_model_load: error loading model: tensor 'output' is not within the file", "main is done"],
        "error loading model: tensor 'output' is not within the file",
    ),
    (["WARNING: this can cause errors like `OSError: too many files`", "the end"], "the end"),
]


@pytest.mark.parametrize(("lines", "cause"), ENDINGS)
def test_the_cause(lines: list[str], cause: str) -> None:
    output = Output()
    assert list(output.feed("".join(line + "\n" for line in lines).encode())) == lines
    assert output.cause() == cause


def test_a_last_line_that_is_not_whole_counts() -> None:
    output = Output()
    assert list(output.feed(b"one\nKeyError: 'tw")) == ["one"]
    assert output.cause() == "KeyError: 'tw"


@pytest.mark.parametrize(
    ("said", "cause"),
    [
        ("slot 0: prompt 'my secret'", ""),
        ("llama: error: cannot read 'my secret'", ""),
        (f"{CORE}ValueError: the prompt 'my secret' is too long\nwell again", "ValueError"),
        (f"{CORE}torch.OutOfMemoryError: CUDA\n{API}RuntimeError: dead. See stack trace", "torch.OutOfMemoryError"),
        ("KeyError: 'my secre", "KeyError"),
    ],
)
def test_nothing_that_a_user_wrote_is_a_cause(said: str, cause: str) -> None:
    output = Output()
    list(output.feed(b"OSError: of the start\n"))
    output.ready()
    list(output.feed(said.encode() + (b"" if said.startswith("KeyError") else b"\n")))
    assert output.cause() == cause


def test_a_progress_bar_is_lines() -> None:
    assert list(Output().feed(b"\r  0%\r 50%\r100%\n\n")) == ["  0%", " 50%", "100%"]


def test_it_keeps_little() -> None:
    output = Output()
    for _ in range(10):
        list(output.feed(b"x" * 1_000_000))
    list(output.feed(b"\nError: " + b"y" * 5000 + b"\n"))
    list(output.feed(b"one more\n" * 2 * KEPT_LINES))
    assert output.cause() == "one more"
    list(output.feed(b"SomeError: " + b"y" * 5000 + b"\n"))
    assert len(output.cause()) == LONGEST_CAUSE
    assert all(len(line) <= LONGEST_LINE for line in output.feed(b"z" * 5000 + b"\n"))


@given(st.text(st.sampled_from("ab\n\rä")).map(str.encode), st.lists(st.integers(1, 5)))
def test_lines_are_the_same_however_they_come(said: bytes, sizes: list[int]) -> None:
    whole = list(Output().feed(said + b"\n"))
    output, at = Output(), 0
    pieces: list[str] = []
    for size in [*sizes, len(said)]:
        pieces += output.feed(said[at : at + size])
        at += size
    assert [*pieces, *output.feed(said[at:] + b"\n")] == whole
