"""What a corrector is worth on real policies' answers: corrected under several sets of objectives, and judged.

Two steps, both gone on with after a stop: `correct` writes what became of every draft, `judge` what
each judge says of it. Knows one corrector and any judges; tables and pictures are `report.py`'s.
"""

import difflib
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from corrector import protect
from corrector.correction import Task
from corrector.corrector import Corrector
from corrector.objectives import Objective
from train.agreement import Agreement, Labelled, agreed
from train.judges import Judge, Question
from train.mending import attempted, copied
from train.progress import in_order
from train.readers import Skipped, conversation
from train.rows import numbered

# Of two answers, the first against the second: is the correction better than the draft, how near do both come to the
# golden answer, and does asking for an objective help beyond what the usual ones do (`unasked`)?
SIDES = (("correction", "draft"), ("draft", "golden"), ("correction", "golden"), ("correction", "unasked"))


@dataclass(frozen=True, slots=True)
class Answered:
    """A policy's answer to one query, and the data set's own, which may be empty."""

    policy: str
    dataset: str
    query: str
    draft: str
    golden: str


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one draft under one condition, a named set of objectives. `edited`: 0, a copy, to 1."""

    policy: str
    dataset: str
    condition: str
    query: str
    golden: str
    draft: str
    correction: str
    verdict: str
    reason: str
    edited: float
    copied: float  # of the draft's words, the share that stands in the correction
    spans_lost: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Judged:
    """`said`: 1, the better answer is `first`; -1, it is `second`; 0, a tie; None, the judge could not say: a tie too.

    `longer`: by so many words is `first`.
    """

    number: int  # of the outcome
    judge: str
    objective: str
    first: str
    second: str
    said: int | None
    longer: int


def drafts(paths: Iterable[Path], each: int, skipped: Skipped) -> list[Answered]:
    """The first `each` answers of every policy and data set in the files, in the files' order."""
    found: dict[tuple[str, str], list[Answered]] = {}
    for path in paths:
        for number, row in numbered(path):
            if not isinstance(row, dict) or not isinstance(row.get("answer"), str) or not row["answer"].strip():
                skipped.note("no answer", path, number)
                continue
            key = (str(row.get("policy")), str(row.get("dataset")))
            some = found.setdefault(key, [])
            if len(some) < each:
                some.append(Answered(*key, str(row.get("query") or ""), row["answer"], str(row.get("golden") or "")))
    return [one for some in found.values() for one in some]


async def correct(
    answered: Sequence[Answered],
    conditions: Mapping[str, tuple[Objective, ...]],
    corrector: Corrector,
    out: Path,
    in_flight: int,
    progress: Callable[[], None],
    segmented: Collection[str] = (),
    settings: Any = None,
) -> list[Outcome]:
    """Every draft under every condition; what `out` (JSON Lines, in that order) has is not done again.

    Under the conditions that are `segmented`, as mode `segment` would correct it. `settings`: what tells this corrector
    from another one, as JSON knows it.
    """

    async def one(todo: tuple[str, Answered]) -> dict[str, Any]:
        condition, draft = todo
        task = Task(conversation(draft.query), draft.draft, conditions[condition], keep_draft_on_failure=False)
        told = await attempted(corrector, task, segmented=condition in segmented)
        spans = protect.mask(draft.draft).spans
        return asdict(
            Outcome(
                policy=draft.policy,
                dataset=draft.dataset,
                condition=condition,
                query=draft.query,
                golden=draft.golden,
                draft=draft.draft,
                correction=told.text,
                verdict=told.verdict,
                reason=told.reason,
                edited=edited(draft.draft, told.text),
                copied=copied(draft.draft, told.text),
                spans_lost=sum(span not in told.text for span in spans),
                seconds=round(told.total_s, 3),
            )
        )

    def key(todo: tuple[str, Answered]) -> Any:
        condition, draft = todo
        return [condition, conditions[condition], condition in segmented, draft, settings]

    outcomes = []
    todo = [(name, draft) for name in conditions for draft in answered]
    async for result in in_order(todo, one, out, in_flight, key):
        outcomes.append(Outcome(**result))
        progress()
    return outcomes


async def judge(
    outcomes: Sequence[Outcome],
    conditions: Mapping[str, tuple[Objective, ...]],
    judges: Sequence[Judge],
    out: Path,
    in_flight: int,
    progress: Callable[[], None],
    settings: Any = None,
) -> list[Judged]:
    """Each outcome by every judge, toward each objective of its condition that the judge decides.

    The first of the conditions is the usual one. `settings`: what tells these judges from others of their names.
    """
    usual = next(iter(conditions))
    unasked = {(one.policy, one.query, one.draft): one.correction for one in outcomes if one.condition == usual}
    todo = []
    for number, outcome in enumerate(outcomes):
        texts = {"draft": outcome.draft, "golden": outcome.golden, "correction": outcome.correction}
        if outcome.condition != usual:
            texts["unasked"] = unasked.get((outcome.policy, outcome.query, outcome.draft), "")
        todo += [
            (number, who, aim, first, second, texts)
            for who in judges
            for aim in conditions[outcome.condition]
            if who.decides(aim.key)
            for first, second in SIDES
            if texts.get(first, "").strip() and texts.get(second, "").strip()
        ]

    async def one(asked: tuple[int, Judge, Objective, str, str, dict[str, str]]) -> dict[str, Any]:
        number, who, aim, first, second, texts = asked
        ours, theirs = texts[first], texts[second]
        # Judges say 1 where the second answer is the better one.
        question = Question(conversation(outcomes[number].query), theirs, ours, aim)
        said = 0 if ours == theirs else await who.compare(question)
        longer = len(ours.split()) - len(theirs.split())
        return asdict(Judged(number, who.name, aim.key, first, second, said, longer))

    def key(asked: tuple[int, Judge, Objective, str, str, dict[str, str]]) -> Any:
        number, who, aim, first, second, texts = asked
        return [number, who.name, aim, first, texts[first], second, texts[second], outcomes[number].query, settings]

    judged = []
    async for result in in_order(todo, one, out, in_flight, key):
        judged.append(Judged(**result))
        progress()
    return judged


async def agreement(
    asked: Mapping[str, Sequence[Labelled]],
    judges: Sequence[Judge],
    out: Path,
    in_flight: int,
    settings: Any = None,
    seed: int = 1,
) -> dict[tuple[str, str], list[Agreement]]:
    """By judge and objective, how far each judge agrees with people on each file; `out` keeps what has been said.

    File by file, so that what has been said stays when another file is added.
    """
    todo = [
        (who, file, one)
        for file, some in asked.items()
        for who in judges
        for one in some
        if who.decides(one.question.objective.key)
    ]

    async def said_to(item: tuple[Judge, str, Labelled]) -> dict[str, Any]:
        return {"said": await item[0].compare(item[2].question)}

    def key(item: tuple[Judge, str, Labelled]) -> Any:
        return [item[0].name, item[1], item[2], settings]

    said = [result["said"] async for result in in_order(todo, said_to, out, in_flight, key)]
    told: dict[tuple[str, str], list[Agreement]] = {}
    for who, file in dict.fromkeys((item[0].name, item[1]) for item in todo):
        these = [
            (one, answer)
            for (judge, of, one), answer in zip(todo, said, strict=True)
            if (judge.name, of) == (who, file)
        ]
        for one in agreed(who, [one for one, _ in these], [answer for _, answer in these], seed):
            told.setdefault((who, one.objective), []).append(replace(one, source=file))
    return told


def edited(draft: str, text: str) -> float:
    """How much of both is not shared: 1 less difflib's ratio over words."""
    return 1 - difflib.SequenceMatcher(None, draft.split(), text.split(), autojunk=False).ratio()
