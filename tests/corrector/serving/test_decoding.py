"""Whatever a generation shares its steps with, it says what the model says of it alone."""

import itertools
import queue
import threading
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

from corrector.engines.transformers import Options, generator
from corrector.serving import checkpoint as checkpoints
from corrector.serving.continuous_batching import STEP_TOKENS, ContinuousBatching
from corrector.serving.detokenizer import IncrementalDetokenizer
from corrector.serving.generation import Generation, Piece, Sampling
from corrector.serving.generator import Generator
from corrector.serving.lookup import Lookup
from corrector.serving.request import Completion
from corrector.serving.sequential import SequentialDecoding
from corrector.serving.worker import Decoder, Worker
from tests.corrector.conftest import save

GREEDY = Sampling()
PROMPTS = [list(range(start, start + 3 * start + 2)) for start in (1, 5, 2, 17, 3, 30)]


def loaded(folder: Path, **settings: Any) -> Any:
    told = {"adapter": None, "dtype": "auto", "device": "cpu", "trust_remote_code": False, **settings}
    return checkpoints.load(str(folder), **told)[0]


def generation(
    prompt: list[int], limit: int = 24, *, lookup: Lookup | None = None, sampling: Sampling = GREEDY
) -> Generation:
    text = IncrementalDetokenizer(lambda ids: "".join(map(chr, ids)), [])
    return Generation(list(prompt), limit, frozenset({256}), text, lambda _: None, sampling, lookup)


def greedily(model: Any, prompt: list[int], limit: int = 24) -> list[int]:
    ids = torch.tensor([prompt])
    out = model.generate(ids, attention_mask=torch.ones_like(ids), max_new_tokens=limit, do_sample=False)
    return list(map(int, out[0, len(prompt) :]))


def run(decoder: Decoder, generations: Sequence[Generation], *, joining_every: int = 0) -> list[list[int]]:
    """Steps until all are over; with `joining_every`, each comes so many steps after the one before it."""
    waiting, going = list(generations), []
    for step in itertools.count():
        while waiting and (not joining_every or step >= joining_every * (len(generations) - len(waiting))):
            going.append(waiting.pop(0))
        if going:
            decoder.step(going)
        going = [one for one in going if not one.finish]
        if not going and not waiting:
            return [one.ids[one.prompt_tokens :] for one in generations]
    raise AssertionError


class Counted:
    """A decoder, and how many steps it has made."""

    def __init__(self, decoder: Decoder) -> None:
        self._decoder = decoder
        self.step_tokens = decoder.step_tokens
        self.steps = 0

    def step(self, generations: list[Generation]) -> None:
        self.steps += 1
        self._decoder.step(generations)


@pytest.fixture
def llama(checkpoint: Path) -> Any:
    return loaded(checkpoint)


@pytest.fixture(scope="module")
def expected(checkpoint: Path) -> list[list[int]]:
    model = loaded(checkpoint)
    said = [greedily(model, prompt) for prompt in PROMPTS]
    assert len({tuple(ids) for ids in said}) == len(said), "answers that are all the same would prove nothing"
    return said


@pytest.mark.parametrize("joining_every", [0, 1, 5])
def test_greedy_answers_say_what_generate_says(llama: Any, expected: list[list[int]], joining_every: int) -> None:
    made = [generation(prompt) for prompt in PROMPTS]
    assert run(ContinuousBatching(llama), made, joining_every=joining_every) == expected


def test_a_long_prompt_comes_in_parts_and_keeps_nobody_waiting(llama: Any, expected: list[list[int]]) -> None:
    long = [n * n % 251 for n in range(3 * STEP_TOKENS + 100)]
    decoder = ContinuousBatching(llama)
    first, late = generation(PROMPTS[1]), generation(long, 5)
    decoder.step([first])
    for written in (2, 3, 4):
        decoder.step([first, late])
        assert (first.generated, late.generated) == (written, 0)
    assert run(decoder, [first, late]) == [expected[1], greedily(loaded_of(llama), long, 5)]


def loaded_of(model: Any) -> Any:
    """The same weights with the attention that they came with."""
    import copy

    other = copy.deepcopy(model)
    other.set_attn_implementation("sdpa")
    return other


class Knowing(Lookup):
    """Proposes what will be said, but for every fifth token."""

    def __init__(self, said: list[int]) -> None:
        super().__init__(1)
        self._said = [(token + 1) % 256 if at % 5 == 4 else token for at, token in enumerate(said)]

    def propose(self, ids: Sequence[int], length: int) -> list[int]:
        return self._said[len(ids) :][:length]


def test_drafts_change_nothing_but_the_number_of_steps(checkpoint: Path) -> None:
    model = loaded(checkpoint)
    expected = [greedily(model, prompt) for prompt in PROMPTS]
    known = [Knowing(prompt + said) for prompt, said in zip(PROMPTS, expected, strict=True)]
    made = [generation(prompt, lookup=lookup) for prompt, lookup in zip(PROMPTS, known, strict=True)]
    decoder = Counted(ContinuousBatching(model, draft_length=6, draft_in_flight=len(made)))
    assert run(decoder, made, joining_every=2) == expected
    assert decoder.steps < 2 * len(made) + 24 / 3


@pytest.mark.parametrize("size", [1, 3])
def test_drafts_from_the_prompt_change_nothing(checkpoint: Path, size: int) -> None:
    model = loaded(checkpoint)
    prompts = [(prompt + greedily(model, prompt)) * 2 for prompt in PROMPTS]
    expected = [greedily(model, prompt) for prompt in prompts]
    decoder = ContinuousBatching(model, draft_length=6, draft_in_flight=len(prompts))
    assert run(decoder, [generation(prompt, lookup=Lookup(size)) for prompt in prompts]) == expected


def test_no_drafts_beside_too_many_others(llama: Any) -> None:
    decoder = Counted(ContinuousBatching(llama, draft_length=6, draft_in_flight=1))
    run(decoder, [generation(PROMPTS[0] * 3, 60, lookup=Lookup(1)) for _ in range(2)])
    assert decoder.steps == 60


class Unasked(Lookup):
    def propose(self, ids: Sequence[int], length: int) -> list[int]:
        raise AssertionError("its prompt has not been read yet")


def test_nothing_is_proposed_for_a_prompt_of_which_one_token_has_room(llama: Any) -> None:
    decoder = ContinuousBatching(llama, draft_length=6, draft_in_flight=3)
    before, cut, after = generation([1] * (STEP_TOKENS - 1)), generation([2] * 9, lookup=Unasked(1)), generation([3, 4])
    assert decoder.step_tokens([before, cut, after]) == STEP_TOKENS
    decoder.step([before, cut, after])
    read = [each.cache.known if each.cache else 0 for each in (before, cut, after)]
    assert read == [STEP_TOKENS - 1, 1, 0]
    assert decoder.step_tokens([cut, after]) == 8 + 2


def test_a_sliding_window_slides(tmp_path: Path) -> None:
    model = loaded(save(tmp_path, "Mistral", sliding_window=8))
    expected = [greedily(model, prompt) for prompt in PROMPTS]
    assert run(ContinuousBatching(model), [generation(prompt) for prompt in PROMPTS], joining_every=3) == expected
    other = loaded(save(tmp_path / "other", "Mistral", sliding_window=None))
    assert [greedily(other, prompt) for prompt in PROMPTS] != expected


@pytest.mark.parametrize(
    ("kind", "settings"),
    [("Bloom", {"n_layer": 2, "n_head": 4}), ("Mamba", {"state_size": 4})],
)
def test_a_model_with_an_attention_of_its_own_answers_one_by_one(
    tmp_path: Path, kind: str, settings: dict[str, Any]
) -> None:
    model = loaded(save(tmp_path, kind, **settings))
    expected = [greedily(model, prompt) for prompt in PROMPTS]
    with pytest.raises(ValueError, match=f"{kind}ForCausalLM cannot take several answers at once"):
        ContinuousBatching(model)
    assert run(SequentialDecoding(model), [generation(prompt) for prompt in PROMPTS]) == expected


def test_an_attention_that_caps_its_scores_is_not_replaced(tmp_path: Path) -> None:
    model = loaded(save(tmp_path, "Gemma2", head_dim=12))
    before = greedily(model, PROMPTS[0], 4)
    with pytest.raises(ValueError, match="its attention is of a kind of its own"):
        ContinuousBatching(model)
    assert greedily(model, PROMPTS[0], 4) == before


def test_a_seed_tells_what_is_drawn(llama: Any) -> None:
    decoder = ContinuousBatching(llama)

    def draw(seed: int, **chosen: float) -> list[int]:
        beside = generation(PROMPTS[3], 24, sampling=Sampling(temperature=1.0))
        sampled = generation(PROMPTS[0], 24, sampling=Sampling(**{"temperature": 1.0, **chosen}, seed=seed))
        return run(decoder, [beside, sampled])[1]

    assert draw(1) == draw(1)
    assert len({tuple(draw(seed)) for seed in range(4)}) > 1
    likeliest = run(decoder, [generation(PROMPTS[0])])[0]
    assert draw(1, top_p=1e-6) == draw(2, top_p=1e-6) == draw(3, top_p=1e-50) == likeliest


# PEFT asks transformers by a name of old.
@pytest.mark.filterwarnings("ignore:.is_gradient_checkpointing:FutureWarning")
def test_an_adapter_is_merged(checkpoint: Path, tmp_path: Path) -> None:
    from peft import LoraConfig, get_peft_model

    tuned: Any = get_peft_model(
        loaded(checkpoint), LoraConfig(r=4, target_modules="all-linear", init_lora_weights=False, task_type="CAUSAL_LM")
    )
    tuned.save_pretrained(str(tmp_path))
    said = greedily(tuned.eval(), PROMPTS[0])
    assert run(ContinuousBatching(loaded(checkpoint, adapter=str(tmp_path))), [generation(PROMPTS[0])]) == [said]
    assert greedily(loaded(checkpoint), PROMPTS[0]) != said


class Small:
    """A decoder with memory for so many generations."""

    def __init__(self, room: int) -> None:
        self.room = room

    def step(self, generations: list[Generation]) -> None:
        if len(generations) > self.room:
            raise torch.OutOfMemoryError("of all the memory")
        for each in generations:
            each.take([7])

    def step_tokens(self, generations: list[Generation]) -> int:
        return len(generations)


class Hanging(Small):
    """In a step, until it is let go."""

    def __init__(self) -> None:
        super().__init__(8)
        self.begun, self.let_go = threading.Event(), threading.Event()

    def step(self, generations: list[Generation]) -> None:
        self.begun.set()
        assert self.let_go.wait(20)
        self.begun.clear()
        self.let_go.clear()
        super().step(generations)


def ends(worker: Worker, generations: Sequence[Generation]) -> list[Piece]:
    """The last piece of each."""
    told: queue.SimpleQueue[tuple[int, Piece]] = queue.SimpleQueue()
    for which, made in enumerate(generations):
        made.tell = lambda piece, which=which: told.put((which, piece))  # type: ignore[misc]
        worker.submit(made)
    over: dict[int, Piece] = {}
    while len(over) < len(generations):
        which, piece = told.get(timeout=20)
        if piece.finish or piece.failure:
            over[which] = piece
    return [over[which] for which in range(len(generations))]


def test_one_too_many_for_the_memory_is_given_up() -> None:
    over = ends(Worker(Small(2), parallel=8), [generation([1], 500) for _ in range(3)])
    assert sorted(piece.finish or "failed" for piece in over) == ["failed", "length", "length"]


def test_a_step_that_takes_too_long_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """The first one has more time, and a long prompt."""
    decoder = Hanging()
    worker = Worker(decoder, parallel=1)
    assert not worker.stalled()
    told = []
    monkeypatch.setattr("corrector.serving.worker.STEP_S", -1.0)
    for token_s, first_s in ((0.0, 60.0), (0.0, 60.0), (60.0, -1.0)):
        monkeypatch.setattr("corrector.serving.worker.TOKEN_S", token_s)
        monkeypatch.setattr("corrector.serving.worker.FIRST_STEP_S", first_s)
        pieces: queue.SimpleQueue[Piece] = queue.SimpleQueue()
        made = generation([1], 1)
        made.tell = pieces.put
        worker.submit(made)
        assert decoder.begun.wait(20)
        told.append(worker.stalled())
        decoder.let_go.set()
        assert pieces.get(timeout=20).finish
    assert told == [False, True, False]


def test_one_whose_token_cannot_be_drawn_fails_alone(llama: Any) -> None:
    undrawable = generation(PROMPTS[0], sampling=Sampling(temperature=1e-40))
    failed, beside = ends(Worker(ContinuousBatching(llama), parallel=8), [undrawable, generation(PROMPTS[1])])
    assert (failed.failure or "").startswith("no token can be drawn")
    assert beside.finish == "length"


def test_of_answers_one_by_one_the_one_that_has_no_room_fails_alone(checkpoint: Path) -> None:
    model = loaded(checkpoint)
    generate = model.generate

    def small(ids: torch.Tensor, **more: Any) -> Any:
        if ids.shape[1] > 4:
            raise torch.OutOfMemoryError("of all the memory")
        return generate(ids, **more)

    model.generate = small
    over = ends(
        Worker(SequentialDecoding(model), parallel=8), [generation(prompt, 4) for prompt in ([1] * 9, [1], [2])]
    )
    assert [piece.failure or "ended" for piece in over] == [
        "there is not enough memory for this answer",
        "ended",
        "ended",
    ]


def test_those_beyond_the_parallel_ones_wait_for_a_place(checkpoint: Path) -> None:
    made = generator(Options(kind="transformers", model=str(checkpoint), parallel=2, threads=1))
    texts = [whole(made, f"prompt {n}") for n in range(5)]
    assert [collect(pieces) for pieces in texts] == [collect(whole(made, f"prompt {n}")) for n in range(5)]


def whole(made: Generator, prompt: str) -> "queue.SimpleQueue[Piece]":
    pieces: queue.SimpleQueue[Piece] = queue.SimpleQueue()
    request = Completion(prompt=prompt, temperature=0)
    made.submit(made.generation(made.prompt_of_text(prompt), request, 12, pieces.put))
    return pieces


def collect(pieces: "queue.SimpleQueue[Piece]") -> str:
    text = ""
    while True:
        piece = pieces.get(timeout=30)
        text += piece.text
        if piece.finish:
            return text
