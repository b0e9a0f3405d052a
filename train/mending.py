"""Does a corrector mend what is named, and leave what is fine?

Held-out good answers, each fine or damaged along one objective by rule, go through the corrector as
the gateway runs it, template, gate and all. A case is measured against the good answer that it was
made from; kinds of damage that no training row had are the unseen objectives. All other damage is done by the rules
that made the training rows, in the same words: only the answers are held out.
"""

import difflib
import itertools
import random
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from corrector import protect
from corrector.correction import Correction, Task
from corrector.corrector import Corrector, whole
from corrector.objectives import Objective
from corrector.segmented import in_segments
from corrector.templates import Turn
from train import damage, manner, terms
from train.intervals import bootstrap, mean, written
from train.prepare import USUAL
from train.progress import in_order
from train.rows import Pair
from train.wordings import Wordings
from wire.errors import WireError, of_one_request

NOTE = (
    "But for what is marked unseen, the damage is done by the same rules, and in the same words, as in training rows "
    "that `train prepare` makes: the answers are held out, and not the faults."
)
SHORTEST, LONGEST = 120, 800  # characters
FINE, BROKEN_OFF, ALL, UNASKED = "fine", "broken_off", "all damage", ", not asked"


@dataclass(frozen=True, slots=True)
class Case:
    """`kind` is a kind of damage, or `fine`; `good` is what the draft was made from, or what is to stay of it.

    `origin`: the conversation that it comes from, or where there was none the answer. Cases of one are alike.
    """

    kind: str
    context: tuple[Turn, ...]
    draft: str
    good: str
    objectives: tuple[Objective, ...]
    origin: Hashable


@dataclass(frozen=True, slots=True)
class Outcome:
    """`before` and `after`: likeness to the good answer, 0 to 1 (difflib's ratio over words).

    What breaks off may be ended in any words, or where the sentence before ends: so far it is compared, if it is ended.
    """

    kind: str
    verdict: str
    reason: str
    before: float
    after: float
    copied: float  # of the draft's words, the share that stands in the correction
    spans_lost: int
    seconds: float


def cases(pairs: Iterable[Pair], known: Mapping[str, Objective], a_kind: int, seed: int) -> list[Case]:
    """`a_kind` cases of every kind of damage, and as many fine ones, from the pairs' better answers.

    Every kind toward its own objective, but what breaks off: that is to be ended under the usual ones.
    """
    rng = random.Random(seed)  # noqa: S311 - a sample, not a secret
    good = _shuffled(pairs, rng)
    kinds = {**damage.KINDS, **damage.HELD_OUT}
    made: list[Case] = []
    for kind, (change, harmed) in kinds.items():
        if harmed[0] not in known:
            continue
        some = 0
        for pair in good:
            text = pair.second.strip()
            damaged = change(text, rng)
            if damaged is not None and damaged != text and some < a_kind:
                made.append(Case(kind, pair.context, damaged, text, (known[harmed[0]],), _origin(pair)))
                some += 1
    usual = tuple(known[key] for key in USUAL if key in known)
    made += [
        Case(FINE, pair.context, pair.second.strip(), pair.second.strip(), usual, _origin(pair))
        for pair in good[:a_kind]
    ]
    broken = ((pair, damage.broken_off(pair.second.strip(), rng)) for pair in good)
    for pair, told in itertools.islice(((pair, told) for pair, told in broken if told is not None), a_kind):
        made.append(Case(BROKEN_OFF, pair.context, *told, usual, _origin(pair)))
    return made


def asked(pairs: Iterable[Pair], known: Mapping[str, Objective], a_kind: int, seed: int) -> list[Case]:
    """Does the corrector read what it is asked? Answers in another manner, each toward the objective that asks for
    theirs, and once more under the usual ones, which do not; and answers of which something is asked that no row of any
    training asks for (`terms.HELD_OUT`), and once more under the usual ones, when they are fine as they are.
    """
    rng = random.Random(seed)  # noqa: S311 - a sample, not a secret
    good = _shuffled(pairs, rng)
    wordings = Wordings()
    kinds = {kind: (change, wordings.first(harmed[0])) for kind, (change, harmed) in manner.KINDS.items()}
    usual = tuple(known[key] for key in USUAL if key in known)
    made: list[Case] = []
    for kind, (change, aim) in {**kinds, **manner.HELD_OUT}.items():
        drafts = ((pair, change(pair.second.strip(), rng)) for pair in good)
        for pair, draft in itertools.islice(((pair, draft) for pair, draft in drafts if draft is not None), a_kind):
            made.append(Case(kind, pair.context, draft, pair.second.strip(), (aim,), _origin(pair)))
            made.append(Case(kind + UNASKED, pair.context, draft, pair.second.strip(), usual, _origin(pair)))
    for kind, term in terms.KINDS.items():
        found = ((pair, term(pair.second.strip(), rng, terms.HELD_OUT)) for pair in good)
        for pair, told in itertools.islice(((pair, told) for pair, told in found if told is not None), a_kind):
            draft, target, said = told
            made.append(Case(kind, pair.context, draft, target, (terms.objective(kind, said, rng),), _origin(pair)))
            made.append(Case(kind + UNASKED, pair.context, draft, draft, usual, _origin(pair)))
    return made


def _origin(pair: Pair) -> Hashable:
    return pair.context or pair.second


def _shuffled(pairs: Iterable[Pair], rng: random.Random) -> list[Pair]:
    """Those whose better answer is long enough to be damaged, and not too long to be made anew in a few seconds."""
    good = [pair for pair in pairs if SHORTEST <= len(pair.second) <= LONGEST]
    rng.shuffle(good)
    return good


async def run(
    todo: Sequence[Case],
    corrector: Corrector,
    out: Path,
    in_flight: int,
    progress: Callable[[], None],
    settings: Any = None,
) -> list[Outcome]:
    """Correct every case; what `out` (JSON Lines, in the cases' order) has already is not done again.

    `settings`: what tells this corrector from another one, as JSON knows it.
    """

    async def one(case: Case) -> dict[str, Any]:
        task = Task(case.context, case.draft, case.objectives, keep_draft_on_failure=False)
        return asdict(outcome(case, await attempted(corrector, task)))

    done = []
    async for result in in_order(todo, one, out, in_flight, lambda case: [_worked_on(case), settings]):
        done.append(Outcome(**result))
        progress()
    return done


def _worked_on(case: Case) -> dict[str, Any]:
    """Without its origin, on which no correction hangs: it only says how cases are counted."""
    return {name: value for name, value in asdict(case).items() if name != "origin"}


async def attempted(corrector: Corrector, task: Task, *, segmented: bool = False) -> Correction:
    """What becomes of it. What the engine cannot do leaves its draft as it is, `failed`, and the run goes on.

    `segmented`: as mode `segment` would correct it. Raises `WireError` where the engine does nothing for anybody.
    """
    try:
        return await (in_segments(corrector, task) if segmented else whole(corrector, task, tries=3))
    except WireError as error:
        if not of_one_request(error):
            raise
        return Correction(task.draft, "failed", str(error))


def outcome(case: Case, told: Correction) -> Outcome:
    spans = protect.mask(case.draft).spans
    text = told.text
    if case.kind == BROKEN_OFF and damage.is_ended(text):
        text = text[: len(case.good)]
    return Outcome(
        kind=case.kind,
        verdict=told.verdict,
        reason=told.reason,
        before=likeness(case.draft, case.good),
        after=likeness(text, case.good),
        copied=copied(case.draft, told.text),
        spans_lost=sum(span not in told.text for span in spans),
        seconds=told.total_s,
    )


def likeness(text: str, other: str) -> float:
    return difflib.SequenceMatcher(None, text.split(), other.split(), autojunk=False).ratio()


def copied(draft: str, text: str) -> float:
    words = draft.split()
    matcher = difflib.SequenceMatcher(None, words, text.split(), autojunk=False)
    return sum(block.size for block in matcher.get_matching_blocks()) / max(1, len(words))


@dataclass(frozen=True, slots=True)
class Line:
    """Of one kind, or of all damage together.

    How often the correction came nearer to the good answer than the draft was, or got farther.
    `interval`: 95%, of the difference of the two, as a share of the cases; those of one origin count as one for it.
    """

    kind: str
    cases: int
    nearer: int
    farther: int
    interval: tuple[float, float]
    likeness_before: float
    likeness_after: float
    copied: float
    spans_lost: int
    verdicts: dict[str, int]


def summary(outcomes: Sequence[Outcome], seed: int = 1, origins: Sequence[Hashable] | None = None) -> list[Line]:
    """`origins`: of each outcome, its case's; without, each has its own."""
    by_kind: dict[str, list[tuple[Outcome, Hashable]]] = defaultdict(list)
    for one, origin in zip(outcomes, range(len(outcomes)) if origins is None else origins, strict=True):
        by_kind[one.kind].append((one, origin))
    damage_done = [kind for kind in by_kind if kind != FINE]
    for name, kinds in (
        (ALL, [kind for kind in damage_done if not kind.endswith(UNASKED)]),
        (ALL + UNASKED, [kind for kind in damage_done if kind.endswith(UNASKED)]),
    ):
        if len(kinds) > 1:
            by_kind[name] = [one for kind in kinds for one in by_kind[kind]]
    return [
        _line(kind, [one for one, _ in some], [origin for _, origin in some], seed) for kind, some in by_kind.items()
    ]


def _line(kind: str, some: Sequence[Outcome], origins: Sequence[Hashable], seed: int) -> Line:
    moved = [(one.after > one.before + 1e-9) - (one.after < one.before - 1e-9) for one in some]
    return Line(
        kind=kind,
        cases=len(some),
        nearer=moved.count(1),
        farther=moved.count(-1),
        interval=bootstrap(moved, seed, groups=origins),
        likeness_before=mean(one.before for one in some),
        likeness_after=mean(one.after for one in some),
        copied=mean(one.copied for one in some),
        spans_lost=sum(one.spans_lost for one in some),
        verdicts=dict(Counter(one.verdict for one in some)),
    )


def markdown(told: Sequence[Line]) -> str:
    rows = [
        "| kind | cases | nearer | farther | nearer - farther, 95% | likeness before | after | copied | verdicts |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for line in told:
        unseen = line.kind.removesuffix(UNASKED) in {**damage.HELD_OUT, **manner.HELD_OUT, **terms.KINDS}
        kind = f"{line.kind} (unseen)" if unseen else line.kind
        verdicts = ", ".join(f"{count} {verdict}" for verdict, count in sorted(line.verdicts.items()))
        rows.append(
            f"| {kind} | {line.cases} | {line.nearer} | {line.farther} | {written(line.interval, '+.2f')} "
            f"| {line.likeness_before:.3f} | {line.likeness_after:.3f} | {line.copied:.2f} | {verdicts} |"
        )
    return "\n".join([*rows, "", NOTE]) + "\n"
