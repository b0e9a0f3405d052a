"""A judge that counts: for objectives that can be measured, and for nothing else.

readability           textstat's automated readability index (Smith and Senter, 1967: letters a word, words a
                      sentence), lower is easier; textstat's indices that count syllables fetch a dictionary
length                words, fewer is better, as long as most of what the other answer says is still there
repetition            the share of four-word runs and of sentences that were there before
protected             code, URLs, formulas of the first answer, the draft, that the second has lost; never a win
instruction_following demands of the query that can be counted; it cannot say where there are none

Knows nothing of meaning. English words for numbers and demands only.
"""

import json
import re
from collections.abc import Callable, Sequence
from typing import Literal

import textstat

from corrector import protect
from corrector.gate import loops
from corrector.templates import Turn
from train.judges import JudgeOptions, Question

GRADES_APART = 0.5  # of the readability index: less is a tie
WORDS_APART = 0.05  # of the longer answer
KEPT = 0.5  # of the longer answer's distinct long words, so many must stand in the shorter one
REPEATED_APART = 0.02
RUN = 4
_WORD = re.compile(r"\w+(?:['’]\w+)?")
_SENTENCE = re.compile(r"[^.!?\n]+(?:[.!?]+|\n|$)")
_ITEM = re.compile(r"^\s*(?:[-*•]|\d+[.)])\s+\S", re.MULTILINE)
_FENCE = re.compile(r"\A\s*```\w*\n(.*?)\n?```\s*\Z", re.DOTALL)


class Options(JudgeOptions):
    kind: Literal["measure"]


def build(options: Options) -> "MeasureJudge":
    return MeasureJudge()


class MeasureJudge:
    name = "measure"

    def decides(self, objective: str) -> bool:
        return objective in MEASURES

    async def compare(self, question: Question) -> int | None:
        return MEASURES[question.objective.key](question)

    def remarks(self) -> str:
        return ""

    async def aclose(self) -> None:
        return None


def readability(question: Question) -> int | None:
    if not question.first.strip() or not question.second.strip():
        return None
    first, second = grade(question.first), grade(question.second)
    if abs(first - second) < GRADES_APART:
        return 0
    return 1 if second < first else -1


def length(question: Question) -> int | None:
    """The shorter, unless it says something else or only a part: then it is no shorter version, and who could say?"""
    first, second = words(question.first), words(question.second)
    shorter, longer = sorted((first, second), key=len)
    alike = len(longer) - len(shorter) <= WORDS_APART * len(longer)
    if kept(longer, shorter) < KEPT or (alike and kept(shorter, longer) < KEPT):
        return None
    if alike:
        return 0
    return 1 if len(second) < len(first) else -1


def repetition(question: Question) -> int | None:
    if not question.first.strip() or not question.second.strip():
        return None
    first, second = repeated(question.first), repeated(question.second)
    if abs(first - second) < REPEATED_APART:
        return 0
    return 1 if second < first else -1


def protected(question: Question) -> int | None:
    return -1 if any(span not in question.second for span in protect.mask(question.first).spans) else 0


def instruction_following(question: Question) -> int | None:
    if not (wanted := demands(question.context)):
        return None
    met = [sum(demand(answer) for demand in wanted) for answer in (question.first, question.second)]
    return (met[1] > met[0]) - (met[1] < met[0])


MEASURES: dict[str, Callable[[Question], int | None]] = {
    "readability": readability,
    "length": length,
    "repetition": repetition,
    "protected": protected,
    "instruction_following": instruction_following,
}


def words(text: str) -> list[str]:
    return _WORD.findall(text.lower())


def sentences(text: str) -> list[str]:
    return [found.strip() for found in _SENTENCE.findall(text) if words(found)]


def grade(text: str) -> float:
    """The school year that a reader needs, by the automated readability index; lower is easier."""
    return float(textstat.automated_readability_index(text))


def kept(longer: Sequence[str], shorter: Sequence[str]) -> float:
    """Of the distinct words of four letters or more in the one, the share that the other has."""
    telling = {word for word in longer if len(word) >= 4} or set(longer)
    return len(telling & set(shorter)) / len(telling) if telling else 1.0


def repeated(text: str) -> float:
    """0: nothing is said twice; 1: a loop."""
    if loops(text):
        return 1.0
    said = words(text)
    runs = [tuple(said[at : at + RUN]) for at in range(len(said) - RUN + 1)]
    whole = [" ".join(words(sentence)) for sentence in sentences(text)]
    return max((1 - len(set(listed)) / len(listed) for listed in (runs, whole) if listed), default=0.0)


Demand = Callable[[str], bool]
_NUMBERS = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten")
_NUMBER = r"(?P<n>\d{1,4}|a single|" + "|".join(_NUMBERS) + ")"
_MOST = r"at most|no more than|within|up to|maximum(?: of)?|not exceed(?:ing)?"
_LEAST = r"at least|no (?:less|fewer) than|minimum(?: of)?"
_BOUND = (
    rf"(?:(?P<most>{_MOST})|(?P<least>{_LEAST})|(?P<fewer>less than|fewer than|under)|(?P<more>more than)"
    r"|(?P<exactly>exactly|in|using|with))"
)
_COUNTED = re.compile(rf"\b{_BOUND} {_NUMBER}[ -](?P<what>words?|sentences?|paragraphs?)\b", re.IGNORECASE)
_LISTED = re.compile(
    rf"\b(?:list(?: of)?|give(?: me)?|name|write|provide|suggest|in)\s+(?:exactly |the |me )?{_NUMBER} (?:\w+ )?"
    r"(?:bullet points?|bullets|items|tips|ways|ideas|examples|reasons|steps|things|facts|suggestions)\b",
    re.IGNORECASE,
)
_JSON = re.compile(r"\b(?:in|as|using|valid) (?:a )?JSON\b(?! schema)", re.IGNORECASE)
_UPPER = re.compile(r"\b(?:in|use|using) (?:all )?(?:caps|capital letters|upper ?case)\b", re.IGNORECASE)
_LOWER = re.compile(r"\b(?:in|use|using) (?:all )?lower ?case\b", re.IGNORECASE)
ROUGHLY = 0.1  # "in 100 words" is met within a tenth


def demands(context: Sequence[Turn]) -> list[Demand]:
    """What the last turn asks for that can be counted, each as a test of an answer."""
    asked = context[-1].text if context else ""
    found: list[Demand] = [_counted(match) for match in _COUNTED.finditer(asked)]
    if not any(match.group("what").startswith("sentence") for match in _COUNTED.finditer(asked)):
        found += [_listed(_value(match.group("n"))) for match in _LISTED.finditer(asked)]
    for pattern, test in ((_JSON, _is_json), (_UPPER, str.isupper), (_LOWER, str.islower)):
        if pattern.search(asked):
            found.append(test)
    return found


def _value(number: str) -> int:
    text = number.lower()
    if text.isdigit():
        return int(text)
    return 1 if text == "a single" else _NUMBERS.index(text) + 1


def _counted(match: re.Match[str]) -> Demand:
    wanted, what = _value(match.group("n")), match.group("what").lower().rstrip("s")
    slack = round(wanted * ROUGHLY) if what == "word" else 0

    def met(answer: str) -> bool:
        count = {"word": words, "sentence": sentences, "paragraph": _paragraphs}[what](answer)
        if match.group("most") or match.group("fewer"):
            return 0 < len(count) <= wanted - bool(match.group("fewer"))
        if match.group("least") or match.group("more"):
            return len(count) >= wanted + bool(match.group("more"))
        return abs(len(count) - wanted) <= slack

    return met


def _listed(wanted: int) -> Demand:
    return lambda answer: len(_ITEM.findall(answer)) == wanted


def _paragraphs(text: str) -> list[str]:
    return [part for part in re.split(r"\n\s*\n", text) if part.strip()]


def _is_json(answer: str) -> bool:
    fenced = _FENCE.match(answer)
    try:
        return isinstance(json.loads(fenced.group(1) if fenced else answer), (dict, list))
    except ValueError:
        return False
