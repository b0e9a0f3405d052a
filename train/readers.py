"""Preference data as its publishers ship it, read to `Pair`s. A row that cannot be used is counted by its reason."""

import csv
import re
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import combinations
from pathlib import Path
from typing import Any

from corrector.templates import Turn
from train.rows import Pair, lines

ASPECTS = ("instruction_following", "honesty", "truthfulness", "helpfulness")
_SPEAKER = re.compile(r"(?:\A|\n\n)(Human|Assistant):[ \t]?")

Skipped = Counter[str]


def conversation(transcript: str) -> tuple[Turn, ...]:
    """`Human:` and `Assistant:` turns, as HH-RLHF writes them; text without a speaker is the user's."""
    parts = _SPEAKER.split(transcript)
    turns = [Turn("user", parts[0].strip())] if parts[0].strip() else []
    for speaker, text in zip(parts[1::2], parts[2::2], strict=True):
        if text.strip():
            turns.append(Turn("user" if speaker == "Human" else "assistant", text.strip()))
    return tuple(turns)


def normalised(path: Path, skipped: Skipped) -> Iterator[Pair]:
    """`query, weak, strong, better` with `source` and `licence`."""
    for row in lines(path):
        weak, strong, better = row.get("weak"), row.get("strong"), row.get("better")
        if not isinstance(weak, str) or not isinstance(strong, str) or not isinstance(better, list):
            skipped["weak, strong or better is missing"] += 1
        elif not weak.strip() or not strong.strip() or not better:
            skipped["an answer is empty"] += 1
        else:
            scores = {str(name): (0.0, 1.0) for name in better}
            yield Pair(row["source"], row["licence"], conversation(row.get("query") or ""), weak, strong, scores)


def hh_rlhf(path: Path, skipped: Skipped, objective: str = "harmlessness") -> Iterator[Pair]:
    """`chosen` and `rejected` transcripts that differ in their last turn.

    Columns `<objective>_chosen` and `<objective>_rejected`, from a scorer, count instead of the
    plain preference where they are there.
    """
    for row in lines(path):
        chosen, rejected = _last_turn(row.get("chosen")), _last_turn(row.get("rejected"))
        if chosen is None or rejected is None:
            skipped["no transcript that ends in an answer"] += 1
        elif chosen[0] != rejected[0]:
            skipped["the conversations differ before their last turn"] += 1
        elif not chosen[1].strip() or not rejected[1].strip():
            skipped["an answer is empty"] += 1
        else:
            scored = {
                name.removesuffix("_chosen"): (float(row[name.replace("_chosen", "_rejected")]), float(value))
                for name, value in row.items()
                if name.endswith("_chosen") and name.replace("_chosen", "_rejected") in row
            }
            scores = scored or {objective: (0.0, 1.0)}
            yield Pair("hh_rlhf", "MIT", conversation(chosen[0]), rejected[1].strip(), chosen[1].strip(), scores)


def ultrafeedback(path: Path, skipped: Skipped) -> Iterator[Pair]:
    """`instruction` with `completions[].annotations.<aspect>.Rating`, which may be "N/A"."""
    for row in lines(path):
        rated = []
        for completion in row.get("completions") or []:
            ratings = {aspect: _rating(completion, aspect) for aspect in ASPECTS}
            known = {aspect: value for aspect, value in ratings.items() if value is not None}
            if known and str(completion.get("response") or "").strip():
                rated.append((completion["response"].strip(), known))
            else:
                skipped["a completion without a rating or a response"] += 1
        if len(rated) < 2 or not row.get("instruction"):
            skipped["fewer than two rated completions"] += 1
        for (first, ours), (second, theirs) in combinations(rated, 2):
            both = {aspect: (ours[aspect], theirs[aspect]) for aspect in ours if aspect in theirs}
            yield Pair("ultrafeedback", "MIT", (Turn("user", row["instruction"]),), first, second, both)


def imhi(path: Path, skipped: Skipped) -> Iterator[Pair]:
    """CSV with `query`, `answer_a`, `answer_b` and, by objective, `<objective>_a` and `<objective>_b`."""
    with path.open(encoding="utf-8", newline="") as file:
        for row in csv.DictReader(file):
            aspects = [name.removesuffix("_a") for name in row if name and name.endswith("_a") and name != "answer_a"]
            first, second = (row.get("answer_a") or "").strip(), (row.get("answer_b") or "").strip()
            try:
                scores = {name: (float(row[f"{name}_a"]), float(row[f"{name}_b"])) for name in aspects}
            except (KeyError, TypeError, ValueError):
                skipped["a score is missing or not a number"] += 1
                continue
            if not first or not second or not scores:
                skipped["an answer is empty"] += 1
                continue
            yield Pair("imhi", row.get("licence") or "unknown", (Turn("user", row["query"]),), first, second, scores)


READERS: dict[str, Callable[..., Iterator[Pair]]] = {
    "pairs": normalised,
    "hh_rlhf": hh_rlhf,
    "ultrafeedback": ultrafeedback,
    "imhi": imhi,
}


def _last_turn(transcript: Any) -> tuple[str, str] | None:
    """What comes before the last `Assistant:` turn, and that turn."""
    if not isinstance(transcript, str) or "\n\nAssistant:" not in transcript:
        return None
    before, _, answer = transcript.rpartition("\n\nAssistant:")
    return before, answer


def _rating(completion: Any, aspect: str) -> float | None:
    try:
        return float(completion["annotations"][aspect]["Rating"])
    except (KeyError, TypeError, ValueError):
        return None
