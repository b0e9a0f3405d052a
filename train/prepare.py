"""Pairs to training rows: MetaAligner's dynamic objectives reformulation (arXiv 2403.17141, 3.1), and more.

From two answers with scores come a *better* row for the objectives in which the second wins, its
mirror for those in which the first wins, an *equal* row for those that tie, and *identical* rows for
the warm-up. Beyond the paper: wordings are drawn from `wordings.yaml` and now and then one of several
objectives is left out; good answers are damaged along one objective by rule (`damage.py`, `manner.py`),
with the target unchanged where another objective is named, or something is asked of one alone
(`terms.py`), or they are to be said in fewer or plainer words (`simpler.py`, and by hand in
`rewrites.jsonl`), or they break off within a sentence; a policy's own loops are taken out; answers that
go along with a harmful request become a refusal, needless refusals an answer, and what is fine stays
(`harm.py`).
Everything is decided by the seed.
"""

import random
import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import cycle, islice

from corrector.objectives import Objective
from train import damage, manner, simpler, terms
from train.composition import Report
from train.harm import Refusals, answers_well, goes_along, read_as, refuses
from train.readers import Skipped
from train.rows import Pair, Row
from train.wordings import Wordings

MENDED, LEFT = 0.6, 0.15  # of damaged answers: mended, left as another objective is named; the rest is not damaged
TWICE = 0.55  # of those in another manner: both, mended where the objective is named and left where another one is
SHORTENED = 0.65  # of made rows: of a few sentences of an answer
ASKED, MET = 0.25, 0.2  # of made rows: toward something of this answer alone (terms.py); of them, met already
NAMED = 0.5  # of made rows that are mended: how many name the damage's own objective, before any that it harms is drawn
BESIDE = 0.3  # of made rows: how many are in another manner besides, which nobody asks to be mended
BY_HAND = (0.3, 0.1)  # of what was rewritten by hand: left where nobody asks; and as it came out, which stays
PLAINER = 0.7  # of what is made simpler: in plainer words, as these are the smaller edits; the rest in fewer
ENDED = 0.5  # of answers that break off: how many do not
WRITTEN = "written"  # the source of `rewrites.jsonl`
# Objectives that nearly any answer could be brought nearer to: no answer is left alone under them.
NEVER_MET = ("overall", "clarity", "helpfulness", "length", "plain_words", "plain_language")
USUAL = ("harmlessness", "helpfulness")  # what a gateway asks for if nobody says otherwise
DROPPED = 0.3  # of rows with several objectives: how many lose one
TIE = 1e-9


def reformulated(pair: Pair, wordings: Wordings, rng: random.Random, skipped: Skipped) -> Iterator[Row]:
    """The rows of one pair: better, its mirror, and equal, each for the objectives that it is true of."""
    wordings = wordings.beside(pair.own)
    known = {key: scores for key, scores in pair.scores.items() if key in wordings}
    for key in pair.scores:
        if key not in known:
            skipped.note_at(f"no wording for {key}", pair.where)
    wins = [key for key, (first, second) in known.items() if second > first + TIE]
    losses = [key for key, (first, second) in known.items() if first > second + TIE]
    ties = [key for key in known if key not in wins and key not in losses]
    for kind, keys, draft, target in (
        ("better", wins, pair.first, pair.second),
        ("better", losses, pair.second, pair.first),
        ("equal", ties, pair.first, pair.second),
    ):
        if keys:
            if len(keys) > 1 and rng.random() < DROPPED:
                keys = rng.sample(keys, rng.randint(1, len(keys) - 1))
            aims = wordings.draw_all(keys, rng)
            yield Row(kind, pair.part, pair.licence, pair.context, draft, target, aims)  # type: ignore[arg-type]


def identical(pair: Pair, wordings: Wordings, rng: random.Random, among: Sequence[str] = ()) -> Row:
    """The better answer as it is, toward anything, or toward some `among` these: nothing is to be done."""
    suiting = among or [key for key in wordings if manner.suits(pair.second, key, rng)]
    aims = wordings.draw_all(rng.sample(suiting, min(len(suiting), rng.randint(1, 3))), rng)
    return Row("identical", pair.part, pair.licence, pair.context, pair.second, pair.second, aims)


def _better(pair: Pair, source: str, draft: str, target: str, aims: tuple[Objective, ...]) -> Row:
    return Row("better", source, pair.licence, pair.context, draft, target, aims)


def made(pair: Pair, wordings: Wordings, rng: random.Random) -> list[Row]:
    """The better answer, damaged by rule; mended, or left where the objective that was harmed is not named.

    Now and then it is in another manner besides, which stays as it is: nobody asks for that one. Of what is in another
    manner the same draft comes twice as a rule, once mended and once left: what tells the two apart is what is asked.
    """
    good = pair.second.strip()
    if rng.random() < SHORTENED:
        good = _stretch(good, rng)
    unnamed: tuple[str, ...] = ()
    if rng.random() < BESIDE:
        change, unnamed = manner.KINDS[rng.choice([kind for kind in (*manner.KINDS, *manner.RARE) if kind != "oath"])]
        good = change(good, rng) or good

    def row(kind: str, draft: str, target: str, aims: tuple[Objective, ...]) -> Row:
        return _better(pair, f"made:{kind}", draft, target, aims)

    if rng.random() < ASKED and (found := terms.draw(good, rng)) is not None:
        kind, draft, target, aim = found
        with_usual: tuple[str, ...] = rng.choice((("helpfulness",), USUAL, (), (), ()))
        aims = [aim, *wordings.draw_all(with_usual, rng)]
        rng.shuffle(aims)
        told = [row(kind, target if rng.random() < MET else draft, target, tuple(aims))]
        return told if rng.random() < 0.7 else [*told, row(kind, draft, draft, wordings.draw_all(USUAL, rng))]
    kinds = rng.choice((damage.KINDS, manner.KINDS))
    order = rng.sample(list(kinds), len(kinds))
    # Toward what the other manner goes against, an answer that stays in it would be no correction.
    order = [kind for kind in order if not set(kinds[kind][1]) & set(unnamed)]
    if rng.random() < 0.5:
        order.sort(key=lambda kind: kind not in manner.RARE)
    # Where it may be asked to be short, what is left as it should be is as short as simpler.py would have it.
    tight = simpler.tightened(good) or good
    possible = ((kind, tight if "length" in kinds[kind][1] else good) for kind in order)
    changed = ((kind, text, kinds[kind][0](text, rng)) for kind, text in possible)
    kind, good, damaged = next(((*found, after) for *found, after in changed if after is not None), ("", good, None))
    if damaged is None:
        return []
    harmed = kinds[kind][1]
    others = [key for key in wordings if key not in (*harmed, *unnamed, *NEVER_MET)]
    named = [harmed[0] if rng.random() < NAMED else rng.choice(harmed)]
    if set(USUAL) & set(harmed) and rng.random() < 0.4:
        named = list(USUAL)
    beside = [key for key in others if key not in named and manner.suits(good, key, rng)]
    named += rng.sample(beside, rng.choice((0, 0, 1)))
    mended = row(kind, damaged, good, wordings.draw_all(named, rng))
    usual = kinds is manner.KINDS and not set(USUAL) & set(harmed) and rng.random() < 0.5
    suiting = [key for key in others if manner.suits(damaged, key, rng)]
    left = row(
        kind, damaged, damaged, wordings.draw_all(USUAL if usual else rng.sample(suiting, rng.randint(1, 2)), rng)
    )
    fate = rng.random()
    if kinds is manner.KINDS and fate < TWICE:
        return [mended, left]
    # An insult is never right, and neither is half a sentence, whatever is asked for: they are not left in.
    if fate < MENDED or (kind in ("insult", "cut", "loop") and fate < MENDED + LEFT):
        return [mended]
    if fate < MENDED + LEFT:
        return [left]
    return [row(kind, good, good, mended.objectives)]


def _stretch(text: str, rng: random.Random) -> str:
    """A few of its sentences, as they stand: so much less to copy for each thing that there is to change."""
    said = [match.end() for match in re.finditer(r"[.!?](?=\s|\Z)", text)]
    if len(said) < 4:
        return text
    count = rng.randint(2, min(5, len(said) - 1))
    first = rng.randrange(0, len(said) - count)
    return text[said[first - 1] if first else 0 : said[first + count - 1]].strip()


def refused(pair: Pair, refusals: Refusals, wordings: Wordings, rng: random.Random) -> Row:
    """An answer that goes along with a harmful request; a short refusal, and a safe way, in its place."""
    keys = list(USUAL) if rng.random() < 0.5 else ["harmlessness"]
    target = refusals.draw(pair.context[-1].text if pair.context else "", rng, read_as(pair))
    return _better(pair, "harm:refused", pair.first, target, wordings.draw_all(keys, rng))


def declined(pair: Pair, refusals: Refusals, wordings: Wordings, rng: random.Random) -> Row:
    """A harmful request that has been declined already, in whoever's words: that stays, and is not helped along."""
    keys = list(USUAL) if rng.random() < 0.5 else [rng.choice(USUAL)]
    said = pair.second
    if not pair.declines:
        said = refusals.draw(pair.context[-1].text if pair.context else "", rng, read_as(pair))
        said = said.split(". ")[0] + "." if rng.random() < 0.3 else said
    return _better(pair, "harm:declined", said, said, wordings.draw_all(keys, rng))


def answered(pair: Pair, refusals: Refusals, wordings: Wordings, rng: random.Random) -> Row:
    """A needless refusal; the helpful answer in its place."""
    keys = list(USUAL) if rng.random() < 0.5 else ["helpfulness"]
    draft = refusals.opening(rng)
    return _better(pair, "harm:answered", draft, pair.second, wordings.draw_all(keys, rng))


def kept(pair: Pair, wordings: Wordings, rng: random.Random) -> Row:
    """A fine answer to a harmless question, left alone under what another would be refused under."""
    keys = list(USUAL) if rng.random() < 0.7 else ["harmlessness"]
    return _better(pair, "harm:kept", pair.second, pair.second, wordings.draw_all(keys, rng))


def cleaned(pair: Pair, wordings: Wordings, rng: random.Random) -> Row:
    """What a policy itself said twice, under what it would be sent with as a rule."""
    aims = wordings.draw_all(USUAL if rng.random() < 0.7 else (rng.choice(("helpfulness", "repetition")),), rng)
    return _better(pair, "own:cleaned", pair.first, pair.second, aims)


def broken_off(pair: Pair, wordings: Wordings, rng: random.Random) -> Row | None:
    """A good answer that breaks off within a sentence, which is to be ended as it was; some do not break off."""
    good = pair.second.strip()
    if (found := damage.begun(good, rng)) is None:
        return None
    draft, before, target = found
    if rng.random() < ENDED:
        draft = target = rng.choice((before, target, good)) if damage.is_ended(good) else target
    aims = wordings.draw_all(USUAL if rng.random() < 0.7 else (rng.choice(("helpfulness", "fluency")),), rng)
    return _better(pair, "made:broken_off", draft, target, aims)


def simplified(pair: Pair, wordings: Wordings, rng: random.Random) -> list[Row]:
    """A good answer in fewer or plainer words, toward what asks for that; often left besides, where nobody asks."""
    good = pair.second.strip()
    kind = "plainer" if rng.random() < PLAINER else "tightened"
    change, served = simpler.KINDS[kind]
    if kind == "plainer" and rng.random() < SHORTENED:
        good = _stretch(good, rng)
    if (target := change(good)) is None:
        return []
    beside = rng.choice((("helpfulness",), USUAL, (), ()))
    rows = [_better(pair, f"made:{kind}", good, target, wordings.draw_all((rng.choice(served), *beside), rng))]
    if rng.random() < TWICE:
        rows.append(_better(pair, f"made:{kind}", good, good, wordings.draw_all(USUAL, rng)))
    return rows


def rewritten(pair: Pair, wordings: Wordings, rng: random.Random) -> list[Row]:
    """What somebody has rewritten toward one objective; often left besides, where nobody asks, or as it came out."""
    [key] = pair.scores
    source = f"{WRITTEN}:{key}"
    beside = rng.choice((("helpfulness",), USUAL, (), ()))
    rows = [_better(pair, source, pair.first, pair.second, wordings.draw_all((key, *beside), rng))]
    unasked, done = BY_HAND
    if rng.random() < unasked:
        rows.append(_better(pair, source, pair.first, pair.first, wordings.draw_all(USUAL, rng)))
    if rng.random() < done:
        rows.append(_better(pair, source, pair.second, pair.second, wordings.draw_all((key,), rng)))
    return rows


@dataclass(frozen=True)
class Mix:
    """How many rows of what: of each source of pairs at most `per_source`, and of those that are made."""

    per_source: Mapping[str, int] = field(default_factory=dict)
    made: int = 0
    identical: int = 0
    as_scored: bool = False  # these under what their data is scored in, and under nothing else
    made_from: tuple[str, ...] = ()
    refused: int = 0
    declined: int = 0
    answered: int = 0
    kept: int = 0
    cleaned: int = 0
    broken_off: int = 0
    simplified: int = 0
    rewritten: int = 0
    longest: int = 900  # characters of draft or target
    longest_context: int = 2000  # characters of the turns before

    def most(self, part: str) -> int:
        """Of a source, or what part of it."""
        return self.per_source.get(part, self.per_source.get("*", 0))


def fitting(pairs: Iterable[Pair], mix: Mix, skipped: Skipped) -> list[Pair]:
    """Those that are no longer than the mix wants."""
    usable = []
    for pair in pairs:
        context = sum(len(turn.text) for turn in pair.context)
        if max(len(pair.first), len(pair.second)) > mix.longest or context > mix.longest_context:
            skipped["longer than the mix wants"] += 1
        else:
            usable.append(pair)
    return usable


def taken(pairs: Sequence[Pair], mix: Mix, seed: int) -> list[int]:
    """Of pairs that fit, the numbers of those that `compose` takes for rows of themselves."""
    order = list(range(len(pairs)))
    random.Random(seed).shuffle(order)  # noqa: S311 - as it shuffles the pairs
    counts: Counter[str] = Counter()
    found = []
    for number in order:
        part = pairs[number].part
        if counts[part] < mix.most(part):
            counts[part] += 1
            found.append(number)
    return found


def compose(
    pairs: Iterable[Pair], mix: Mix, wordings: Wordings, seed: int, skipped: Skipped
) -> tuple[list[Row], Report]:
    """Rows in random order, and what became of the pairs."""
    rng = random.Random(seed)  # noqa: S311 - a sample, not a secret
    report = Report(skipped=skipped)
    usable = fitting(pairs, mix, skipped)
    rng.shuffle(usable)
    rows: list[Row] = []
    for part in dict.fromkeys(pair.part for pair in usable):
        some = [pair for pair in usable if pair.part == part]
        rows += [row for pair in some[: mix.most(part)] for row in reformulated(pair, wordings, rng, skipped)]
    by_hand = [pair for pair in usable if pair.part == WRITTEN]
    judged = [_better_last(pair) for pair in usable if pair.part != WRITTEN]
    suited = [pair for pair in judged if not mix.made_from or pair.part in mix.made_from]
    good = _in_turns(suited)
    rows += _left_alone(good, mix, wordings, rng)
    tries = 0
    wanted = len(rows) + mix.made
    while good and len(rows) < wanted and tries < mix.made * 20:
        rows += [row for row in made(good[tries % len(good)], wordings, rng) if len(row.draft) <= mix.longest * 1.5]
        tries += 1
    del rows[wanted:]  # the last try may have given two
    refusals = Refusals()
    harmful = [pair for pair in judged if goes_along(pair, refusals)]
    harmful.sort(key=lambda pair: read_as(pair) is None)  # what somebody has read is surer than what only sounds so
    rows += [refused(pair, refusals, wordings, rng) for pair in harmful[: mix.refused]]
    # Half of them in their own words, as far as there are so many, and the rest in those of a refusal that is drawn.
    themselves = [pair for pair in judged if pair.declines][: mix.declined // 2]
    others = islice((pair for pair in reversed(harmful) if read_as(pair)), mix.declined - len(themselves))
    rows += [declined(pair, refusals, wordings, rng) for pair in (*themselves, *others)]
    harmless = [pair for pair in judged if answers_well(pair)][: mix.answered]
    rows += [answered(pair, refusals, wordings, rng) for pair in harmless]
    fine = [pair for pair in good if not refuses(pair.second)]
    # Half of them, as far as there are so many, answer what only sounds as if it were harmful.
    sounds = list(islice((pair for pair in fine if refusals.sounds_harmful(pair)), mix.kept // 2))
    plain = islice((pair for pair in fine if not refusals.sounds_harmful(pair)), mix.kept - len(sounds))
    rows += [kept(pair, wordings, rng) for pair in (*sounds, *plain)]
    rows += [cleaned(pair, wordings, rng) for pair in islice(filter(_loops, judged), mix.cleaned)]
    # What breaks off does so at a limit of tokens, as a rule: the longer ones are what it happens to.
    longest = sorted(suited, key=lambda pair: -len(pair.second))[: mix.broken_off * 3 // 2]
    broken = (broken_off(pair, wordings, rng) for pair in rng.sample(longest, len(longest)))
    rows += islice((row for row in broken if row is not None), mix.broken_off)
    simple = (row for pair in good for row in simplified(pair, wordings, rng))
    rows += islice(simple, mix.simplified)
    rows += islice((row for pair in by_hand for row in rewritten(pair, wordings, rng)), mix.rewritten)
    rng.shuffle(rows)
    for row in rows:
        report.add(row)
    report.short = _short(mix, report, usable)
    return rows, report


def _left_alone(good: Sequence[Pair], mix: Mix, wordings: Wordings, rng: random.Random) -> list[Row]:
    """Identical rows: of each answer in turn, or of those that the data says what they are no worse in."""
    if not mix.as_scored:
        return [identical(pair, wordings, rng) for pair in islice(cycle(good), mix.identical)]
    scored = [
        (pair, [key for key, (other, own) in pair.scores.items() if own > other - TIE and key in wordings])
        for pair in good
    ]
    some = cycle((pair, keys) for pair, keys in scored if keys)
    return [identical(pair, wordings, rng, keys) for pair, keys in islice(some, mix.identical)]


def _short(mix: Mix, report: Report, usable: Sequence[Pair]) -> list[str]:
    """What was asked for and is not there, or is less."""
    of_kind: Counter[str] = Counter()
    for name, count in report.rows.items():
        kind, _, source = name.partition(" ")
        of_kind[source if kind == "better" else kind] += count
    there = {
        "identical": of_kind["identical"], "refused": of_kind["harm:refused"], "declined": of_kind["harm:declined"],
        "answered": of_kind["harm:answered"], "kept": of_kind["harm:kept"], "cleaned": of_kind["own:cleaned"],
        "broken_off": of_kind["made:broken_off"], "simplified": sum(of_kind[f"made:{kind}"] for kind in simpler.KINDS),
        "rewritten": sum(count for name, count in of_kind.items() if name.startswith(f"{WRITTEN}:")),
    }  # fmt: skip
    there["made"] = sum(count for name, count in of_kind.items() if name.startswith("made:"))
    there["made"] -= there["broken_off"] + there["simplified"]
    told = [f"{name}: {there[name]} of {wanted}" for name in there if there[name] < (wanted := getattr(mix, name))]
    sources = {pair.part for pair in usable}
    named = dict.fromkeys((*mix.made_from, *(name for name in mix.per_source if name != "*")))
    return told + [
        f"no pair of {name}; there are {', '.join(sorted(sources))}" for name in named if name not in sources
    ]


def _better_last(pair: Pair) -> Pair:
    """With the answer second that wins in more objectives."""
    wins = [(second > first + TIE) - (first > second + TIE) for first, second in pair.scores.values()]
    if sum(wins) >= 0:
        return pair
    scores = {key: (second, first) for key, (first, second) in pair.scores.items()}
    return replace(pair, first=pair.second, second=pair.first, scores=scores)


def _loops(pair: Pair) -> bool:
    """Is it a policy's own answer without what it says twice, and are those sentences, and not the lines of a form?"""
    again = damage.said_twice(pair.first)
    if not again or pair.second != damage.cleaned(pair.first):
        return False
    return all(re.search(r"[.!?:]\s*\Z", piece) for piece in again[:-1])


def _in_turns(pairs: Sequence[Pair]) -> list[Pair]:
    """The sources in turns, the smaller ones again and again: what is made is of all of them alike."""
    by_source: dict[str, list[Pair]] = {}
    for pair in pairs:
        by_source.setdefault(pair.part, []).append(pair)
    longest = max((len(some) for some in by_source.values()), default=0)
    return [some[number % len(some)] for number in range(longest) for some in by_source.values()]
