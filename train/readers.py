"""Preference data as its publishers ship it, read to `Pair`s. A row that cannot be used is counted and named."""

import csv
import math
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from itertools import combinations
from pathlib import Path
from typing import Any

from corrector.gate import loops
from corrector.objectives import Objective
from corrector.templates import Turn
from train.damage import cleaned
from train.harm import Refusals, declines, digest, only_declines, refuses, requested, topics_read
from train.rows import HARMFUL, HARMLESS, DataError, Pair, numbered

ASPECTS = ("instruction_following", "honesty", "truthfulness", "helpfulness")
IMHI_ASPECTS = ("correctness", "informative", "professional")
NAMED = 5  # of the rows that share a reason, so many are named
_OPENING = 160  # characters, in which an answer that declines says so
_CODE = re.compile(r"```|[;{}]$", re.MULTILINE)
# Models of UltraFeedback: whose answers bind who learns from them, by a part of their names.
_FAMILIES = {
    "gpt": "OpenAI", "claude": "Anthropic", "bard": "Google", "llama": "Llama", "vicuna": "Llama", "wizardlm": "Llama",
    "alpaca": "Llama", "ultralm": "Llama",
    # As their model cards have it: the first is for no commercial use, the second with restrictions that are handed on.
    "mpt-30b-chat": "CC-BY-NC-SA-4.0", "starchat": "BigCode OpenRAIL-M",
}  # fmt: skip
_FREE = ("falcon-40b-instruct", "pythia-12b")
_CHOSEN_BY = {"helpful": "helpfulness", "harmless": "harmlessness"}  # by words in HH-RLHF's folders
_SPEAKER = re.compile(r"(?:\A|\n\n)(Human|Assistant):[ \t]?")
_SAID = ("weak", "strong", "worse", "better", "golden", "answer")  # where rows to judge by have their answers


class Skipped(Counter[str]):
    """Why something was not used, how often, and in which rows first."""

    def __init__(self) -> None:
        super().__init__()
        self.where: dict[str, list[str]] = {}

    def note(self, reason: str, path: Path, number: int) -> None:
        self.note_at(reason, f"{path.name}:{number}")

    def note_at(self, reason: str, where: str) -> None:
        self[reason] += 1
        named = self.where.setdefault(reason, [])
        if where and len(named) < NAMED:
            named.append(where)


def conversation(transcript: str) -> tuple[Turn, ...]:
    """`Human:` and `Assistant:` turns, as HH-RLHF writes them; text without a speaker is the user's."""
    parts = _SPEAKER.split(transcript)
    turns = [Turn("user", parts[0].strip())] if parts[0].strip() else []
    for speaker, text in zip(parts[1::2], parts[2::2], strict=True):
        if text.strip():
            turns.append(Turn("user" if speaker == "Human" else "assistant", text.strip()))
    return tuple(turns)


def normalised(path: Path, skipped: Skipped) -> Iterator[Pair]:
    """`query, weak, strong, better, source, licence`; an audit trail's have `context`, `equal` and `objectives` too."""
    for number, row in _rows(path, skipped):
        weak, strong, better = row.get("weak"), row.get("strong"), row.get("better")
        equal = row.get("equal") or []
        if not isinstance(weak, str) or not isinstance(strong, str) or not isinstance(better, list):
            skipped.note("weak, strong or better is missing", path, number)
        elif not weak.strip() or not strong.strip():
            skipped.note("an answer is empty", path, number)
        elif not (better or equal):
            skipped.note("no objective is named", path, number)
        else:
            scores = {**{str(name): (1.0, 1.0) for name in equal}, **{str(name): (0.0, 1.0) for name in better}}
            try:
                turns, own = turns_of(row), own_wordings(row)
            except (TypeError, ValueError, AttributeError):
                skipped.note("context or objectives are not as an audit trail writes them", path, number)
                continue
            where = f"{path.name}:{number}"
            yield Pair(str(row.get("source")), _licence(row), turns, weak, strong, scores, own, where=where)


def hh_rlhf(path: Path, skipped: Skipped, objective: str | None = None) -> Iterator[Pair]:
    """`chosen` and `rejected` transcripts that differ in their last turn.

    `objective`: what people chose by, which the file does not say; by default as its publisher's folders are named
    (`helpful-base/train.jsonl.gz`), or the file. Columns `<objective>_chosen` and `<objective>_rejected`, a scorer's,
    count instead of the plain preference where they are there.
    """
    objective = objective or _chosen_by(path.name, path.absolute().parent.name)  # of a link, its own folder
    for number, row in _rows(path, skipped):
        chosen, rejected = _last_turn(row.get("chosen")), _last_turn(row.get("rejected"))
        scores = _scores(row, "_rejected", "_chosen")
        if chosen is None or rejected is None:
            skipped.note("no transcript that ends in an answer", path, number)
        elif chosen[0] != rejected[0]:
            skipped.note("the conversations differ before their last turn", path, number)
        elif not chosen[1].strip() or not rejected[1].strip():
            skipped.note("an answer is empty", path, number)
        elif scores is None:
            skipped.note("a score is not a number", path, number)
        elif not scores and objective is None:
            skipped.note("nothing says what was chosen by: hh_rlhf:helpfulness=FILE does", path, number)
        else:
            scores = scores or {str(objective): (0.0, 1.0)}
            context, where = conversation(chosen[0]), f"{path.name}:{number}"
            yield Pair("hh_rlhf", "MIT", context, rejected[1].strip(), chosen[1].strip(), scores, where=where)


def _chosen_by(*names: str) -> str | None:
    """What the first of these names says that says anything; nothing where it says both."""
    said = ([key for word, key in _CHOSEN_BY.items() if word in name] for name in names)
    found = next(filter(None, said), [])
    return found[0] if len(found) == 1 else None


def ultrafeedback(path: Path, skipped: Skipped) -> Iterator[Pair]:
    """`instruction` with `completions[].annotations.<aspect>.Rating`, which may be "N/A"."""
    for number, row in _rows(path, skipped):
        rated, completions = [], row.get("completions")
        for completion in completions if isinstance(completions, list) else []:
            ratings = {aspect: _rating(completion, aspect) for aspect in ASPECTS}
            known = {aspect: value for aspect, value in ratings.items() if value is not None}
            said = completion.get("response") if isinstance(completion, dict) else None
            if known and isinstance(said, str) and said.strip():
                rated.append((said.strip(), known, _terms(completion.get("model"))))
            else:
                skipped.note("a completion without a rating or a response", path, number)
        asked = row.get("instruction")
        if not isinstance(asked, str) or not asked.strip():
            skipped.note("no instruction", path, number)
            continue
        if len(rated) < 2:
            skipped.note("fewer than two rated completions", path, number)
            continue
        for (first, ours, by), (second, theirs, by_other) in combinations(rated, 2):
            both = {aspect: (ours[aspect], theirs[aspect]) for aspect in ours if aspect in theirs}
            if not both:  # a scorer may say more of them
                skipped.note("two completions that are rated in no aspect alike", path, number)
            licence = "MIT" + "".join(f", {terms}" for terms in sorted({by, by_other} - {""}))
            yield Pair("ultrafeedback", licence, (Turn("user", asked),), first, second, both)


def imhi(path: Path, skipped: Skipped, questions: str | None = None) -> Iterator[Pair]:
    """CSV, in either of two forms.

    The release's own model outputs have `goldens` and `generated_text`: the golden answer wins in all of IMHI's
    objectives. A scored table has `query`, `answer_a`, `answer_b` and, by objective, `<objective>_a` and `_b`.

    `questions`: a file for rows that have no `query`, as the release's have none. MentalLLaMA's
    `test_data/test_instruction` has them, each with the golden answer that it was given.
    """
    asked = _questions(Path(questions), skipped) if questions else {}
    for number, row in _table(path, skipped):
        if "goldens" in row:
            first, second = row.get("generated_text", "").strip(), row["goldens"].strip()
            scores: dict[str, tuple[float, float]] | None = dict.fromkeys(IMHI_ASPECTS, (0.0, 1.0))
        else:
            first, second = row.pop("answer_a", "").strip(), row.pop("answer_b", "").strip()
            scores = _scores(row, "_a", "_b")
        queries = {row["query"]} if row.get("query", "").strip() else asked.get(second, set())
        if not scores:
            skipped.note("a score is missing or not a number", path, number)
        elif not first or not second:
            skipped.note("an answer is empty", path, number)
        elif not queries:
            skipped.note("no question: imhi:QUESTIONS.csv=FILE may have it", path, number)
        elif len(queries) > 1:
            skipped.note("several questions have this golden answer", path, number)
        else:
            where = f"{path.name}:{number}"
            yield Pair("imhi", _licence(row), conversation(*queries), first, second, scores, where=where)


def _questions(path: Path, skipped: Skipped) -> dict[str, set[str]]:
    """By golden answer, what it was given to. Raises `DataError` for a file that has neither."""
    asked: dict[str, set[str]] = {}
    for _, row in _table(path, skipped):
        if row.get("query", "").strip() and row.get("gpt-3.5-turbo", "").strip():
            asked.setdefault(row["gpt-3.5-turbo"].strip(), set()).add(row["query"])
    if not asked:
        raise DataError(f"{path}: no row has a `query` and a `gpt-3.5-turbo`, the golden answer to it")
    return asked


def _table(path: Path, skipped: Skipped) -> Iterator[tuple[int, dict[str, str]]]:
    """The rows of a CSV file, by column, with their numbers; the header is the first."""
    csv.field_size_limit(1 << 30)  # the module's own limit is less than a post may have
    with path.open(encoding="utf-8-sig", errors="surrogateescape", newline="") as file:
        for number, row in enumerate(csv.DictReader(file, restval=""), 2):
            if any("\udc80" <= letter <= "\udcff" for text in row.values() for letter in str(text)):
                skipped.note("not UTF-8", path, number)
            else:
                yield number, row


def answers(path: Path, skipped: Skipped) -> Iterator[Pair]:
    """A policy's own answers (`train/answers.py`), as they are and without their loops and unfinished ends.

    One that has neither is a pair of equals without a score: good to be damaged, or left alone. One that goes
    along where the golden answer declines is worse in harmlessness, and never a target: it `asks` for what is harmful,
    and for which topic where it answers what `answers.py` calls a request. One that declines such a request is a pair
    with itself.
    """
    for number, row in _rows(path, skipped):
        answer = row.get("answer")
        if not isinstance(answer, str) or not answer.strip():
            skipped.note("an answer is empty", path, number)
            continue
        query, golden = row.get("query") or "", row.get("golden") or ""
        if not isinstance(query, str) or not isinstance(golden, str):
            skipped.note("the query or the golden answer is no text", path, number)
            continue
        policy, context = str(row.get("policy")), conversation(query)
        if declines(golden):
            topic = requested(str(row.get("dataset")))
            if refuses(answer[:_OPENING]):
                if topic and only_declines(answer):
                    yield Pair(policy, _licence(row), context, answer.strip(), answer.strip(), {}, asks=topic)
                else:
                    skipped.note("the policy has declined itself", path, number)
                continue
            # Of a request the golden answer is ours; another one is the data's, whose licence the row does not have.
            licence = _licence(row) if topic else f"{_licence(row)}, and that of {row.get('dataset')}"
            scores = {"harmlessness": (0.0, 1.0)}
            yield Pair(policy, licence, context, answer.strip(), golden.strip(), scores, asks=topic or HARMFUL)
            continue
        clean = cleaned(answer)
        if loops(clean) or len(clean) < 40:
            skipped.note("an answer is nothing but loops", path, number)
            continue
        if clean != answer.rstrip() and _CODE.search(answer):
            skipped.note("code that repeats itself or has no end", path, number)
            continue
        scores = {"repetition": (0.0, 1.0), "helpfulness": (0.0, 1.0)} if clean != answer.rstrip() else {}
        yield Pair(policy, _licence(row), context, answer.strip(), clean.strip(), scores)


def read(path: Path, skipped: Skipped) -> Iterator[Pair]:
    """Normalised pairs, or policy answers' golden ones, whose question somebody has read (`read.yaml`), one by one.

    The answers to a harmful one, where they go along, beside a refusal; where they decline, and the better one to a
    harmless one, with themselves.
    """
    topics, refusals, before = topics_read(), Refusals(), set()
    for number, row in _rows(path, skipped):
        query = str(row.get("query"))
        topic = topics.get(digest(query))
        if topic is None:
            continue
        said = [row[name].strip() for name in ("weak", "strong", "golden") if isinstance(row.get(name), str)]
        if not said:
            skipped.note("there is neither weak and strong, nor a golden answer", path, number)
        source = row.get("source") or row.get("dataset")
        licence, context = "MIT" if source == "hh-rlhf" else _licence(row), conversation(query)
        for answer in said[-1:] if topic == HARMLESS else said:
            if (query, answer) in before:
                continue  # of three policies' answers, the golden one is there three times
            before.add((query, answer))
            if topic != HARMLESS and only_declines(answer):
                yield Pair(str(source), licence, context, answer, answer, {}, asks=topic)
            elif len(answer) <= 30 or refuses(answer[:_OPENING]):
                continue
            elif topic == HARMLESS:
                yield Pair(str(source), licence, context, answer, answer, {}, asks=topic)
            else:
                golden, scores = refusals.golden(query, topic), {"harmlessness": (0.0, 1.0)}
                yield Pair(str(source), licence, context, answer, golden, scores, asks=topic)


def opening(turns: Sequence[Turn]) -> str:
    """What is said first, by its letters and figures alone; empty where nothing is."""
    return _bare(turns[0].text) if turns else ""


def _bare(text: str) -> str:
    return " ".join(re.findall(r"\w+", text.lower()))


def known_by(turns: Sequence[Turn], said: Iterable[Any]) -> set[str]:
    """A conversation's opening; of sentences that answer nothing, as IteraTeR's and ParaDetox's, each itself."""
    first = opening(turns)
    return {first} if first else {_bare(text) for text in said if isinstance(text, str)} - {""}


def openings(path: Path, skipped: Skipped) -> set[str]:
    """What a file's rows are `known_by`."""
    known: set[str] = set()
    for number, row in _rows(path, skipped):
        try:
            known |= known_by(turns_of(row), (row.get(name) for name in _SAID))
        except (TypeError, ValueError, AttributeError):
            skipped.note("held out, but with a context that is not as an audit trail writes it", path, number)
    return known


def apart(pairs: Iterable[Pair], held_out: Collection[str], skipped: Skipped) -> Iterator[Pair]:
    """Those whose conversation has none of these openings, and those without one whose answers are none of them.

    HH-RLHF has many a conversation several times, each longer by a turn or with other answers: a split by whole queries
    puts some of them on both sides.
    """
    for pair in pairs:
        if not known_by(pair.context, (pair.first, pair.second)).isdisjoint(held_out):
            skipped["a conversation that opens as one that is held out"] += 1
        else:
            yield pair


def unseen(pairs: Iterable[Pair], held_out: Iterable[Path], skipped: Skipped) -> Iterator[Pair]:
    """`apart` from all of these files. Raises `DataError` for one that has neither a query nor an answer."""
    known: set[str] = set()
    for file in held_out:
        if not (judged_by := openings(file, skipped)):
            raise DataError(f"--held-out {file}: no row has a query or an answer")
        known |= judged_by
    return apart(pairs, known, skipped)


READERS: dict[str, Callable[..., Iterator[Pair]]] = {
    "pairs": normalised,
    "hh_rlhf": hh_rlhf,
    "ultrafeedback": ultrafeedback,
    "imhi": imhi,
    "answers": answers,
    "read": read,
}


def _rows(path: Path, skipped: Skipped) -> Iterator[tuple[int, dict[str, Any]]]:
    for number, row in numbered(path):
        if isinstance(row, dict):
            yield number, row
        else:
            skipped.note("not a JSON object", path, number)


def turns_of(row: dict[str, Any]) -> tuple[Turn, ...]:
    """What was said before the answers: `context`, or a `query` that may be a transcript.

    Raises `TypeError` for a context that is not turns with a text.
    """
    if "context" in row:
        turns = tuple(Turn(**turn) for turn in row["context"])
        if not all(isinstance(turn.text, str) for turn in turns):
            raise TypeError("a turn's text is no text")
        return turns
    return conversation(str(row.get("query") or ""))


def own_wordings(row: dict[str, Any]) -> tuple[Objective, ...]:
    """`{key: [name, description]}`. Raises `ValueError`."""
    told = row.get("objectives") or {}
    return tuple(Objective(key=key, name=name, description=text) for key, (name, text) in told.items())


def _last_turn(transcript: Any) -> tuple[str, str] | None:
    """What comes before the last `Assistant:` turn, and that turn."""
    if not isinstance(transcript, str) or "\n\nAssistant:" not in transcript:
        return None
    return transcript.rpartition("\n\nAssistant:")[::2]


def _scores(row: dict[str, Any], first: str, second: str) -> dict[str, tuple[float, float]] | None:
    """By objective, the columns with these endings; None where one is not a number."""
    names = [name.removesuffix(second) for name in row if isinstance(name, str) and name.endswith(second)]
    names = [name for name in names if name + first in row]
    try:
        return {name: (_number(row[name + first]), _number(row[name + second])) for name in names}
    except (TypeError, ValueError):
        return None


def _number(value: Any) -> float:
    """Raises `ValueError` also for what is not finite: compared with anything, NaN is a tie."""
    if not math.isfinite(number := float(value)):
        raise ValueError(f"not a number: {value}")
    return number


def _licence(row: dict[str, Any]) -> str:
    return str(row.get("licence") or "unknown")


def _terms(model: Any) -> str:
    """Whose terms the answers of a model of UltraFeedback carry besides; empty: nobody's."""
    name = str(model or "").lower()
    if name in _FREE:
        return ""
    return next((f"{whose} terms" for family, whose in _FAMILIES.items() if family in name), "unknown terms")


def _rating(completion: Any, aspect: str) -> float | None:
    try:
        return _number(completion["annotations"][aspect]["Rating"])
    except (KeyError, TypeError, ValueError):
        return None
