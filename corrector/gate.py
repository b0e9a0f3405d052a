"""Is a correction fit to be sent in place of the draft? Pure functions; each fault is one word of `Fault`."""

import math
import re
import unicodedata
from collections import Counter
from collections.abc import Iterable, Set
from typing import Annotated, Literal

from pydantic import Field

from corrector import words
from corrector.declining import WITHIN, declined, declines, squeezed
from corrector.strictyaml import Strict

Fault = Literal[
    "empty", "cut_off", "looping", "template_leak", "too_short", "too_long", "other_script", "protected_span_lost"
]

SLACK_CHARS = 200  # lengths this close are never "far" apart
PIECE_CHARS = 8  # by which a correction is known as a piece of its draft
REFUSAL_CHARS = 400  # of a refusal, at most
REFUSAL_SHARED = 0.2  # of its pieces, at most: what stands in the draft as well
LOOP_SHARED = 0.3  # of the pieces of a sentence that is said again, at least: what the draft says again
COPY_CHARS, COPY_SHARED = 40, 0.5  # so much that has been written, with so much of the draft, is no refusal to be
SLACK_OF_A_SEGMENT = 0.25  # of its length, at most: an answer has many of them
LOOP_TAIL_CHARS = 2400
FEWEST_LETTERS = 12  # that tell which script a text is in
MIXED = 0.2  # of the letters: so many are of another script in a text that has two
_ASCII_LETTERS, _NOT_ASCII = re.compile(r"[A-Za-z]+"), re.compile(r"[^\x00-\x7f]")
# From where one begins, and without going back: what has no end in a long text would cost the square of its length.
_SENTENCE = re.compile(r"(?<![^.!?。！？\n])[^.!?。！？\n]{20,}+[.!?。！？\n]")
# By itself a model ends for one of the first, and for one of the others at its limit, with half an answer.
_ENDED = ("stop", "eos", "eos_token", "end_turn", "stop_sequence")
_AT_ITS_LIMIT = ("length", "max_tokens", "model_length")
ENDINGS = (*_ENDED, *_AT_ITS_LIMIT)  # at anything else, such as `abort`, an engine gave the answer up


class GateOptions(Strict):
    """How far the length of a correction may be from its draft's, as ratios of characters.

    Where an objective may refuse, a refusal may be shorter, and longer than a draft of a few words.
    """

    min_ratio: Annotated[float, Field(ge=0, le=1)] = 0.1
    max_ratio: Annotated[float, Field(ge=1)] = 3.0

    def loosened(self, ratios: Iterable[float | None]) -> "GateOptions":
        """For objectives that ask for less: a correction may be as short as the lowest of theirs says."""
        least = min((ratio for ratio in ratios if ratio is not None), default=self.min_ratio)
        return self if least >= self.min_ratio else self.model_copy(update={"min_ratio": least})


def growing(
    draft: str, correction: str, options: GateOptions, slack: int = SLACK_CHARS, *, may_refuse: bool = False
) -> Fault | None:
    """Faults that show while the correction is still being written, and that more text cannot mend."""
    if len(correction) > len(draft) * options.max_ratio + slack and not (may_refuse and refuses(draft, correction)):
        return "too_long"
    # A loop that the draft has too may be copied; what goes on beyond it is the corrector's own.
    if loops(correction) and (len(correction) > len(draft) + slack or not _has_loop_of(draft, correction)):
        return "looping"
    return None


def whole(
    draft: str, correction: str, finish_reason: str | None, options: GateOptions, slack: int = SLACK_CHARS, *,
    may_refuse: bool = False, other_script: bool = False,
) -> Fault | None:  # fmt: skip
    """Every fault, of a finished correction. Both texts masked, so that code does not count as prose.

    `finish_reason`: one of `ENDINGS`. `may_refuse`: a refusal may be of any length, in another language than what it
    refuses, and broken off. `other_script`: any correction may be in other letters than its draft.
    """
    if not correction.strip():
        return "empty"
    fault = growing(draft, correction, options, slack, may_refuse=may_refuse)
    if fault is not None:
        return fault
    if may_refuse and refuses(draft, correction):
        return None
    if finish_reason not in _ENDED:
        return "cut_off"
    if len(correction) < len(draft) * options.min_ratio and _lost(draft, correction, options, slack):
        return "too_short"
    return "other_script" if not other_script and _in_another_script(draft, correction) else None


def loops(text: str) -> bool:
    """Does the text end in something said four times over, or say one sentence three times?"""
    return bool(_tail(text)) or bool(_said_again(text))


def _has_loop_of(draft: str, correction: str) -> bool:
    """Does the draft say again whatever the correction does, if only in its midst, or in slightly other words?"""
    if " ".join(_tail(correction)) not in " ".join(words.split(draft)):
        return False
    theirs = _said_again(draft)
    return all(
        said in theirs or any(_shared(once, said) >= LOOP_SHARED for once in theirs) for said in _said_again(correction)
    )


def _said_again(text: str) -> list[str]:
    """The sentences that it says three times and more."""
    return [said for said, times in _sentences(text).items() if times >= 3]


def _tail(text: str) -> list[str]:
    """The words at the end that are something said four times over, if they are."""
    said = words.split(text[-LOOP_TAIL_CHARS:])
    for period in range(1, len(said) // 4 + 1):
        if said[-1] != said[-1 - period] or not _repeats(said, period, 4):  # as good as always
            continue
        worth = words.worth(said[-period:])
        # Less than a few words may be said ten times, or be a laugh: `哈哈哈哈哈哈哈哈哈哈` is three words at most.
        times = 4 if worth >= words.A_FEW else max(10, math.ceil(10 / worth))
        if _repeats(said, period, times):
            return said[-period * times :]
    return []


def _repeats(said: list[str], period: int, times: int) -> bool:
    """Are the last so many words there as often, one time after the other?"""
    span = period * times
    return len(said) >= span and said[period - span :] == said[-span:-period]


def refuses(draft: str, correction: str) -> bool:
    """Does it decline, shortly, and has hardly anything of the draft? Then nothing of the draft has to be in it.

    A draft may decline itself, and then do what it declines: such words of its own are not looked for.
    """
    if len(correction.strip()) > REFUSAL_CHARS or not declines(correction):
        return False
    return _shared(draft, correction, but=_declined(draft)) <= REFUSAL_SHARED


def only_declines(draft: str) -> bool:
    """Is there nothing in it but that?"""
    return _pieces(draft.strip().casefold()) <= _declined(draft)


def may_yet_refuse(draft: str, begun: str) -> bool:
    """May what has begun so still become a refusal?"""
    text = begun.strip()
    if declines(text):
        return len(text) <= REFUSAL_CHARS
    copies = len(text) >= COPY_CHARS and _shared(draft, text) > COPY_SHARED
    copies = copies and _shared(draft, text, but=_declined(draft)) > COPY_SHARED  # to look for it takes long
    return len(text) < WITHIN and not copies


def _lost(draft: str, correction: str, options: GateOptions, slack: int) -> bool:
    """Is a short correction too little of the draft? What the draft says again may be left out."""
    there = len(draft) - sum(len(sentence) * (times - 1) for sentence, times in _sentences(draft).items())
    return len(correction) < there * options.min_ratio and there - len(correction) > slack / 2


def _shared(draft: str, correction: str, but: Set[str] = frozenset()) -> float:
    """How much of the correction stands in the draft as well, from 0 to 1. `but`: unless the draft has nothing else."""
    ours, theirs = _pieces(correction.casefold()), _pieces(draft.casefold())
    if not theirs <= but:
        ours, theirs = ours - but, theirs - but
    return len(ours & theirs) / max(len(ours), 1)


def _declined(draft: str) -> set[str]:
    """The pieces of its clauses that decline."""
    return {piece for clause in declined(draft) for piece in _pieces(clause.casefold())}


def _pieces(text: str) -> set[str]:
    """Every run of so many characters: words would not do for what is written without spaces."""
    text = squeezed(text)  # as what declines is looked for
    return {text[at : at + PIECE_CHARS] for at in range(len(text) - PIECE_CHARS + 1)}


def _sentences(text: str) -> Counter[str]:
    """How often each is said; the rule of a table is none."""
    return Counter(said.strip() for said in _SENTENCE.findall(text) if any(map(str.isalpha, said)))


def _in_another_script(draft: str, correction: str) -> bool:
    """Is most of it in another script than most of the draft is, and strange to it?

    Of a text that has two, such as an answer about code or a translation, either may come to be the larger part.
    """
    ours, theirs = _scripts(correction), _scripts(draft)
    if min(ours.total(), theirs.total()) < FEWEST_LETTERS:
        return False
    [(after, _)], [(before, _)] = ours.most_common(1), theirs.most_common(1)
    both = theirs[after] >= MIXED * theirs.total() and ours[before] >= MIXED * ours.total()
    return after != before and not both


def _scripts(text: str) -> Counter[str]:
    """How many letters of the text belong to each script (`LATIN`, `CYRILLIC`, `CJK` ...).

    Chinese, Japanese and Korean mix theirs, so they count as one.
    """
    head = text[:4000]
    counts = Counter(LATIN=sum(map(len, _ASCII_LETTERS.findall(head))))
    for char in filter(str.isalpha, _NOT_ASCII.findall(head)):
        first = unicodedata.name(char, "").split(" ")[0].split("-")[0]
        counts["CJK" if first in {"CJK", "HIRAGANA", "KATAKANA", "HANGUL", "IDEOGRAPHIC"} else first] += 1
    return counts
