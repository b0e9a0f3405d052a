"""The pointer into the answer: how many steps a correction takes, and that no proposal can be out of the prompt."""

from types import SimpleNamespace
from typing import Any

import numpy
from hypothesis import given
from hypothesis import strategies as st

from corrector.drafting.answer_proposer import ALIKE, MARKER, AnswerProposer, Markers, Pointer

LONGEST = 16
BEFORE, AFTER = [900, 901, 902, 903], [904, 905]  # a template around the answer
ANSWER = [(7 * n * n + n) % 523 for n in range(200)]


class Target:
    """A model that writes `correction` after a prompt, as vLLM runs one: it verifies proposals and adds a token."""

    def __init__(self, prompt: list[int], correction: list[int]) -> None:
        self.tokens, self.size = [*prompt, *correction], len(prompt) + 1
        self.sampled = self.tokens[len(prompt) : self.size]
        self.steps = 0

    @property
    def done(self) -> bool:
        return self.size == len(self.tokens)

    def verify(self, draft: list[int]) -> None:
        """Accept what is right, and write one more."""
        right = 0
        while right < len(draft) and self.size + right < len(self.tokens) - 1:
            if draft[right] != self.tokens[self.size + right]:
                break
            right += 1
        self.sampled = self.tokens[self.size : self.size + right + 1]
        self.size += len(self.sampled)
        self.steps += 1


def proposer(longest: int = LONGEST, room: int = 4096) -> AnswerProposer:
    speculative = SimpleNamespace(num_speculative_tokens=longest)
    return AnswerProposer(
        SimpleNamespace(speculative_config=speculative, model_config=SimpleNamespace(max_model_len=room))
    )


def together(made: AnswerProposer, targets: list[Target], room: int = 4096) -> None:
    """All of them in one batch, to their ends; who is done leaves, and others move up into its row."""
    waiting = [target for target in targets if not target.done]
    while waiting:
        table: Any = numpy.zeros((len(waiting), room), dtype=numpy.int32)
        for row, target in enumerate(waiting):
            table[row, : target.size] = target.tokens[: target.size]
        sizes = numpy.array([target.size for target in waiting])
        drafts = made.propose([target.sampled for target in waiting], sizes, table, slot_mappings=None)
        assert len(drafts) == len(waiting)
        for target, draft in zip(waiting, drafts, strict=True):
            assert all(type(token) is int for token in draft)
            target.verify(draft)
        waiting = [target for target in reversed(waiting) if not target.done]


def steps(made: AnswerProposer, answer: list[int], correction: list[int]) -> int:
    target = Target([*BEFORE, *answer, *AFTER], correction)
    together(made, [target])
    return target.steps


def taught() -> AnswerProposer:
    """One that has seen where answers begin."""
    made = proposer()
    steps(made, ANSWER[:40], ANSWER[:40])
    return made


def test_an_unchanged_answer_takes_as_few_steps_as_there_can_be() -> None:
    assert steps(taught(), ANSWER, ANSWER) == -(-(len(ANSWER) - 1) // (LONGEST + 1))


def test_the_first_answer_of_all_takes_a_few_more() -> None:
    assert steps(proposer(), ANSWER, ANSWER) <= -(-len(ANSWER) // (LONGEST + 1)) + 4


def test_a_first_token_that_is_written_otherwise_costs_nothing() -> None:
    assert steps(taught(), ANSWER, [999, *ANSWER[1:]]) == steps(taught(), ANSWER, ANSWER)


def test_after_an_edit_it_finds_its_place() -> None:
    plain = steps(taught(), ANSWER, ANSWER)
    for edited in (
        [*ANSWER[:80], 999, *ANSWER[81:]],  # a word replaced
        [*ANSWER[:80], *ANSWER[90:]],  # a phrase left out
        [*ANSWER[:80], 997, 998, 999, *ANSWER[80:]],  # a phrase put in
        ANSWER[100:],  # the beginning left out
    ):
        assert steps(taught(), ANSWER, edited) <= plain + 7


def test_what_has_nothing_of_the_answer_costs_no_more_than_plain_decoding() -> None:
    assert steps(taught(), ANSWER, list(range(600, 700))) == 99


def test_it_knows_its_requests_again_whatever_row_they_are_in() -> None:
    made = taught()
    shifted = [[(token + 31 * n) % 523 for token in ANSWER] for n in range(8)]
    targets = [Target([*BEFORE, *answer, *AFTER], answer[: 20 + 15 * n]) for n, answer in enumerate(shifted)]
    targets += [Target([*BEFORE, *ANSWER, *AFTER], ANSWER) for _ in range(3)]
    together(made, targets)
    assert all(target.steps == -(-(len(target.tokens) - len(ANSWER) - 7) // (LONGEST + 1)) for target in targets)


def test_the_same_request_again_and_again_leaves_little_behind() -> None:
    made = taught()
    for _ in range(3 * ALIKE):
        together(made, [Target([*BEFORE, *ANSWER[:40], *AFTER], ANSWER[:40])])
    assert max(map(len, made._pointers.values())) <= ALIKE
    assert steps(made, ANSWER, ANSWER) == -(-(len(ANSWER) - 1) // (LONGEST + 1))


def test_no_draft_before_the_prompt_is_whole_or_beyond_the_models_room() -> None:
    made = proposer(room=50)
    table: Any = numpy.arange(100, dtype=numpy.int32).reshape(2, 50)
    assert made.propose([[], [99]], numpy.array([20, 50]), table) == [[], []]


def test_there_is_nothing_to_load() -> None:
    """vLLM calls it all the same on a CPU, with the model."""
    made = proposer()
    made.load_model(object())
    assert steps(made, ANSWER, ANSWER) > 0


def test_a_marker_is_the_last_one_in_the_prompt() -> None:
    markers = Markers()
    markers.learn([1, 2, 3, 4, 5], 4)
    assert markers.start([2, 3, 4, 0, 2, 3, 4, 9]) == 7
    assert markers.start([3, 4]) is None
    markers.learn([7, 7, 7, 0], MARKER)
    markers.learn([7, 7, 7, 0], MARKER)
    assert markers.start([2, 3, 4, 7, 7, 7, 0]) == 6


TOKENS = st.lists(st.integers(0, 5), max_size=40)


@given(TOKENS, st.none() | st.integers(0, 40), st.lists(TOKENS.filter(bool), max_size=10), st.integers(0, 9))
def test_a_draft_is_always_a_stretch_of_the_prompt(
    source: list[int], start: int | None, written: list[list[int]], longest: int
) -> None:
    pointer = Pointer(source, start)
    for tokens in written:
        pointer.advance(tokens)
        draft = list(pointer.draft(longest))
        assert len(draft) <= longest
        assert not draft or any(source[at : at + len(draft)] == draft for at in range(len(source)))


@given(TOKENS, TOKENS.filter(bool))
def test_it_comes_to_the_end_of_anything(answer: list[int], correction: list[int]) -> None:
    assert steps(proposer(), answer, correction) <= len(correction) - 1
