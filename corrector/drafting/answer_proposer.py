"""Drafts of a correction for vLLM's `custom_class`: a pointer into the answer that is being corrected.

The prompt of a corrector holds the answer, and most of its correction is that answer word for word. So the tokens
that come next are proposed from where the pointer stands, from the first one on; after an edit it is set anew by
what was written last. vLLM verifies every proposal: a wrong one costs time and never changes a text.

Runs in vLLM's own Python, which has nothing of ours: only the standard library is imported. Knows no template: where
an answer begins in a prompt is learnt from the corrections before. (vLLM: `vllm/v1/spec_decode`; the idea of drafts
from the input: Aggressive Decoding, arXiv 2205.10350.)
"""

from collections import Counter
from collections.abc import Sequence
from typing import Any

SHORT = 4  # tokens proposed after an edit; twice as many each time they are right
LONGEST_MATCH = 4  # of the last tokens written, so many or fewer are looked for after an edit
NEAR = 48  # tokens: one that was left out reaches no further
MARKER = 3  # tokens before an answer tell where it begins
CERTAIN = 16  # tokens in step with the prompt tell where the answer began
TAIL = 16  # tokens by which a request is known again
MOST = 1024  # names of requests remembered
ALIKE = 16  # requests remembered under one name: those that ended leave theirs behind, and the same ones may come again


class Pointer:
    """Where in `source`, a prompt's tokens, the correction has come to. `start`: where the answer begins, if known."""

    def __init__(self, source: Sequence[int], start: int | None) -> None:
        self.source = source
        self.written: list[int] = []
        self._at = start  # of the token that should come next
        self._in_step = 0  # tokens since the last edit
        self._length = SHORT if start is None else len(source)

    def advance(self, tokens: Sequence[int]) -> None:
        """These were written."""
        before = self._in_step
        for token in tokens:
            self.written.append(token)
            if self._at is not None and self._at < len(self.source) and self.source[self._at] == token:
                self._at += 1
                self._in_step += 1
            else:
                self._at = self._found(token)
                self._in_step = 0
        if self._in_step >= before + len(tokens):
            self._length *= 2
        elif len(self.written) > 1:  # the first one is often written otherwise: with or without a space before it
            self._length = SHORT

    def draft(self, longest: int) -> Sequence[int]:
        """What should come next."""
        return [] if self._at is None else self.source[self._at : self._at + min(longest, self._length)]

    @property
    def began(self) -> int | None:
        """Where in the source the answer began, once that is certain."""
        if self._at is None or self._in_step < CERTAIN:
            return None
        start = self._at - len(self.written)
        return start if start >= MARKER else None

    def _found(self, token: int) -> int | None:
        """After a token that was not expected: where it goes on. Nearest first, from where the pointer stood."""
        here = self._at or 0
        for length in range(min(LONGEST_MATCH, len(self.written)), 1, -1):
            ends = self._ends_of(self.written[-length:])
            if ends:
                return min(ends, key=lambda end: (end < here, abs(end - here)))
        if self._at is None:
            return None
        for at in range(here, min(here + NEAR, len(self.source))):  # some were left out
            if self.source[at] == token:
                return at + 1
        return min(here + 1, len(self.source))  # one was replaced

    def _ends_of(self, tokens: list[int]) -> list[int]:
        """Where in the source such a sequence of tokens ends."""
        last, size = tokens[-1], len(tokens)
        ends, at = [], size - 2
        try:
            while True:
                at = self.source.index(last, at + 1)
                if self.source[at + 1 - size : at + 1] == tokens:
                    ends.append(at + 1)
        except ValueError:
            return ends


class Markers:
    """What stands before the answers in prompts, learnt from those where it was clear."""

    def __init__(self) -> None:
        self._seen: Counter[tuple[int, ...]] = Counter()

    def learn(self, source: Sequence[int], start: int) -> None:
        if len(self._seen) < MOST:
            self._seen[tuple(source[start - MARKER : start])] += 1

    def start(self, source: Sequence[int]) -> int | None:
        """Where the answer begins: after the last of the marker that was seen most often of those that are here."""
        for marker, _ in self._seen.most_common(8):
            for at in range(len(source) - MARKER, -1, -1):
                if source[at] == marker[0] and tuple(source[at : at + MARKER]) == marker:
                    return at + MARKER
        return None


class AnswerProposer:
    """What vLLM loads: one for all requests. It is told rows of tokens and no request's name."""

    def __init__(self, vllm_config: Any) -> None:
        self._longest = int(vllm_config.speculative_config.num_speculative_tokens)
        self._room = int(vllm_config.model_config.max_model_len)
        self._markers = Markers()
        self._pointers: dict[tuple[int, ...], list[Pointer]] = {}

    def load_model(self, *_: Any) -> None:
        """vLLM on a CPU asks for it; there is nothing to load."""

    def propose(
        self, sampled_token_ids: list[list[int]], num_tokens_no_spec: Any, token_ids_cpu: Any, slot_mappings: Any = None
    ) -> list[list[int]]:
        """For each row, whose `num_tokens_no_spec` tokens end in the sampled ones, what may come next."""
        drafts: list[list[int]] = []
        for row, sampled in enumerate(sampled_token_ids):
            size = int(num_tokens_no_spec[row])
            if not sampled or size >= self._room:  # of a prompt that is not whole yet, or full
                drafts.append([])
                continue
            pointer = self._pointer(token_ids_cpu[row], size - len(sampled))
            known = pointer.began
            pointer.advance(sampled)
            if known is None and pointer.began is not None:
                self._markers.learn(pointer.source, pointer.began)
            same = self._pointers.setdefault(_name(token_ids_cpu[row], size), [])
            same.append(pointer)
            del same[:-ALIKE]
            drafts.append(list(pointer.draft(min(self._longest, self._room - size - 1))))
        while len(self._pointers) > MOST:
            del self._pointers[next(iter(self._pointers))]
        return drafts

    def _pointer(self, row: Any, size: int) -> Pointer:
        """That of the request which had these tokens the last time, or of a new one, whose prompt they are."""
        name = _name(row, size)
        if same := self._pointers.get(name):
            pointer = same.pop()
            if not same:
                del self._pointers[name]
            return pointer
        source = row[:size].tolist()
        return Pointer(source, self._markers.start(source))


def _name(row: Any, size: int) -> tuple[int, ...]:
    return (size, *row[max(0, size - TAIL) : size].tolist())
