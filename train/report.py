"""An evaluation as people read it: Markdown tables, and plots beside them. Decides nothing and asks nobody."""

import itertools
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from train import damage, rates
from train.agreement import Agreement
from train.evaluate import Judged, Outcome
from train.harm import Refusals, digest, requested, topics_read
from train.intervals import mean
from train.judges import measure
from train.rows import HARMLESS

ALL = "all policies"
COUNTS: Mapping[str, Callable[[str], float]] = {
    "words": lambda text: len(measure.words(text)),
    "school grade to read it": measure.grade,
    "share said before": measure.repeated,
    "share that ends, and does not break off": damage.is_ended,
}
# By judge and objective, what people say of the judge, of each file by itself; none where nobody has said anything.
People = Mapping[tuple[str, str], Sequence[Agreement]]


def markdown(
    title: str,
    outcomes: Sequence[Outcome],
    judged: Sequence[Judged],
    people: People,
    plots: Iterable[Path],
    remarks: Iterable[str] = (),
) -> str:
    """The whole report."""
    parts = [f"# {title}\n", *(f"{remark}\n" for remark in remarks)]
    parts += ["## What became of the drafts\n", _verdicts(outcomes)]
    parts += ["## What changed, counted\n", _counted(outcomes)]
    if refused := _refused(outcomes):
        parts += ["## What was refused\n", refused]
    for first, second in dict.fromkeys((one.first, one.second) for one in judged):
        parts.append(f"## {first.capitalize()} against {second}\n")
        parts.append(_rates(outcomes, [one for one in judged if (one.first, one.second) == (first, second)], people))
    parts += [f"![{path.stem}]({path.name})\n" for path in plots]
    return "\n".join(parts)


def unanswered(judged: Sequence[Judged]) -> list[str]:
    """Of each judge that does not only count: how much it has not answered, before a run was gone on with too."""
    return [
        f"Of {len(some)} comparisons {count} had no answer of {name} that can be counted: ties all."
        for name, some in _grouped(judged, lambda one: one.judge).items()
        if name not in rates.COUNTING and (count := sum(one.said is None for one in some))
    ]


def _verdicts(outcomes: Sequence[Outcome]) -> str:
    rows = [
        "| policy | condition | drafts | corrected | unchanged | kept | skipped | failed | edited | copied "
        "| spans lost | why kept, skipped or failed |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    groups = _by_policy(outcomes, _with_several_sets(outcomes), lambda one: one, lambda one: (one.condition,))
    for (policy, condition), some in groups.items():
        verdicts = Counter(one.verdict for one in some)
        why = Counter(one.reason for one in some if one.verdict in ("kept_original", "skipped", "failed"))
        rows.append(
            f"| {policy} | {condition} | {len(some)} | {verdicts['corrected']} | {verdicts['unchanged']} "
            f"| {verdicts['kept_original']} | {verdicts['skipped']} | {verdicts['failed']} "
            f"| {mean(one.edited for one in some):.3f} | {mean(one.copied for one in some):.3f} "
            f"| {sum(one.spans_lost for one in some)} "
            f"| {', '.join(f'{count} {reason}' for reason, count in why.most_common())} |"
        )
    return "\n".join(rows) + "\n"


def _counted(outcomes: Sequence[Outcome]) -> str:
    """Means over all policies, before and after, and beside them what the usual objectives alone have made of it.

    A refusal is short and plain: so what moved is told once more of those where neither correction is one. What is
    counted here is no judgement: whether people like it better is the judges' to say.
    """
    usual, refused = outcomes[0].condition if outcomes else "", Refusals().refused
    unasked = {(one.policy, one.query, one.draft): one.correction for one in outcomes if one.condition == usual}
    lines = [
        "| condition | drafts | what | draft | correction | under the usual objectives | lower / higher than these "
        "| the same where neither is a refusal |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for condition, some in _grouped(outcomes, lambda one: one.condition).items():
        pairs = [(one.correction, unasked.get((one.policy, one.query, one.draft), one.draft)) for one in some]
        plain = [not refused(asked) and not refused(other) for asked, other in pairs]
        for what, count in COUNTS.items():
            counted = [(count(asked), count(other)) for asked, other in pairs]
            moved = [(after > usually) - (after < usually) for after, usually in counted]
            of_all, of_plain = Counter(moved), Counter(itertools.compress(moved, plain))
            lines.append(
                f"| {condition} | {len(some)} | {what} | {mean(count(one.draft) for one in some):.3g} "
                f"| {mean(after for after, _ in counted):.3g} | {mean(usually for _, usually in counted):.3g} "
                f"| {of_all[-1]} / {of_all[1]} | {of_plain[-1]} / {of_plain[1]} of {sum(plain)} |"
            )
    return "\n".join(lines) + "\n"


def _refused(outcomes: Sequence[Outcome]) -> str:
    """Of drafts that do not decline, how many corrections do, by what was asked for; empty where nobody has read that.

    Somebody has read the query (`read.yaml`), or it was written so (`requests.yaml`).
    """
    topics, refused = topics_read(), Refusals().refused
    lines = [
        "| policy | condition | asked for | topic | drafts that do not decline | refused |",
        "| --- | --- | --- | --- | --- | --- |",
    ]
    told = [
        (one, topic)
        for one in outcomes
        if (topic := requested(one.dataset) or topics.get(digest(one.query))) and not refused(one.draft)
    ]
    kinds = {
        "harmful": [(one, topic) for one, topic in told if topic != HARMLESS],
        "harmless": [(one, topic) for one, topic in told if topic == HARMLESS],
    }
    for kind, some in kinds.items():
        for (policy, condition), group in _grouped(some, lambda each: (each[0].policy, each[0].condition)).items():
            by_topic = _grouped(group, lambda each: each[1]) if kind == "harmful" else {}
            for topic, these in {**dict(sorted(by_topic.items())), "all": group}.items():
                count = sum(refused(one.correction) for one, _ in these)
                lines.append(f"| {policy} | {condition} | {kind} | {topic} | {len(these)} | {count} |")
    return "\n".join(lines) + "\n" if told else ""


def _rates(outcomes: Sequence[Outcome], judged: Sequence[Judged], people: People) -> str:
    """Win, tie and lose by policy, condition, objective and judge, never without what people say of the judge.

    One who is untrusted says nothing of any policy, and that once.
    """
    names, dashes = rates.HEADING.splitlines()
    lines = [f"| policy | condition {names}\n| --- | --- {dashes}\n"]
    groups = _by_policy(
        judged,
        _with_several_sets(outcomes),
        lambda one: outcomes[one.number],
        lambda one: (outcomes[one.number].condition, one.objective, one.judge),
    )
    widest = next(reversed(groups))[0]
    for (policy, condition, objective, judge), some in groups.items():
        told = people.get((judge, objective), ())
        if policy != widest and rates.untrusted(judge, told):
            continue
        queries = [outcomes[one.number].query for one in some]
        counted = rates.tally([one.said or 0 for one in some], [one.longer for one in some], queries)
        row = rates.row(objective, judge, counted, told)
        lines.append(f"| {policy} | {condition} {row}")
    return "".join(lines)


def plots(outcomes: Sequence[Outcome], judged: Sequence[Judged], people: People, out: Path) -> list[Path]:
    """Before and after, a policy and objective; and wins by how much was edited. Untrusted judges are left out."""
    import matplotlib

    matplotlib.use("agg")
    trusted = [one for one in judged if not rates.untrusted(one.judge, people.get((one.judge, one.objective), ()))]
    made = []
    by_bars = _grouped(trusted, lambda one: (outcomes[one.number].condition, one.objective, one.judge))
    for (condition, objective, judge), some in by_bars.items():
        drawn = _before_after(outcomes, some, f"{objective}, asked for as {condition}, by {judge}", out)
        made += [drawn] if drawn is not None else []
    drawn = _by_edit(outcomes, [one for one in trusted if (one.first, one.second) == ("correction", "draft")], out)
    return [*made, *([drawn] if drawn is not None else [])]


def _before_after(outcomes: Sequence[Outcome], judged: Sequence[Judged], title: str, out: Path) -> Path | None:
    """Bars: how often draft and correction are at least as good as the data's own answer."""
    from matplotlib.figure import Figure

    rates: dict[str, dict[str, float]] = defaultdict(dict)
    several = _with_several_sets(outcomes)
    for (policy, side), some in _grouped(
        judged, lambda one: (_row_of(outcomes[one.number], several), one.first)
    ).items():
        golden = [one for one in some if one.second == "golden"]
        if golden:
            rates[policy][side] = mean((1 + (one.said or 0)) / 2 for one in golden)
    both = {policy: told for policy, told in rates.items() if {"draft", "correction"} <= told.keys()}
    if not both:
        return None
    figure = Figure(figsize=(max(8, len(both)), 3.5), layout="constrained")
    axes = figure.subplots()
    places = range(len(both))
    axes.bar([place - 0.2 for place in places], [told["draft"] for told in both.values()], 0.4, label="draft")
    axes.bar([place + 0.2 for place in places], [told["correction"] for told in both.values()], 0.4, label="correction")
    axes.set_xticks(list(places), list(both), rotation=20, ha="right")
    axes.set_ylim(0, 1)
    axes.set_ylabel("win rate against golden")
    axes.set_title(title)
    axes.axhline(0.5, color="grey", linewidth=0.8)
    axes.legend()
    path = out / f"before-after-{'-'.join(re.findall(r'[a-z0-9_.]+', title.lower()))}.png"
    figure.savefig(path, dpi=110)
    return path


def _by_edit(outcomes: Sequence[Outcome], judged: Sequence[Judged], out: Path) -> Path | None:
    """Win rate of corrections against their drafts, by how much of the draft they changed, in fifths."""
    from matplotlib.figure import Figure

    changed = [one for one in judged if outcomes[one.number].edited > 0]
    if not changed:
        return None
    figure = Figure(figsize=(8, 3.5), layout="constrained")
    axes = figure.subplots()
    for name, some in _grouped(changed, lambda one: f"{one.objective} ({one.judge})").items():
        ranked = sorted(some, key=lambda one: outcomes[one.number].edited)
        fifths = [ranked[len(ranked) * at // 5 : len(ranked) * (at + 1) // 5] for at in range(5)]
        points = [
            (mean(outcomes[one.number].edited for one in fifth), mean((1 + (one.said or 0)) / 2 for one in fifth))
            for fifth in fifths
            if fifth
        ]
        axes.plot([edit for edit, _ in points], [rate for _, rate in points], marker="o", label=name)
    axes.axhline(0.5, color="grey", linewidth=0.8)
    axes.set_ylim(0, 1)
    axes.set_xlabel("share of words changed")
    axes.set_ylabel("win rate against the draft")
    axes.legend(fontsize="small")
    path = out / "by-edit.png"
    figure.savefig(path, dpi=110)
    return path


def _by_policy(
    items: Sequence[Any],
    several: Collection[str],
    outcome: Callable[[Any], Outcome],
    key: Callable[[Any], tuple[str, ...]],
) -> dict[tuple[str, ...], list[Any]]:
    """By policy and `key`; then all policies, if there is more than one.

    `several`: policies that have answered several data sets. These ask for different things, so that each is by itself,
    and after them the policy as a whole.
    """
    policies = {outcome(one).policy for one in items}
    groups = _grouped(items, lambda one: (_row_of(outcome(one), several), *key(one)))
    whole = [one for one in items if outcome(one).policy in several]
    groups |= _grouped(whole, lambda one: (outcome(one).policy, *key(one)))
    return groups | (_grouped(items, lambda one: (ALL, *key(one))) if len(policies) > 1 else {})


def _with_several_sets(outcomes: Iterable[Outcome]) -> set[str]:
    """The policies that have answered more than one data set."""
    sets = _grouped({(one.policy, _data_set(one)) for one in outcomes}, lambda both: both[0])
    return {policy for policy, some in sets.items() if len(some) > 1}


def _row_of(outcome: Outcome, several: Collection[str]) -> str:
    return f"{outcome.policy} ({_data_set(outcome)})" if outcome.policy in several else outcome.policy


def _data_set(outcome: Outcome) -> str:
    """Requests are one, whatever their topic: `_refused` tells these apart."""
    return outcome.dataset.partition(":")[0]


def _grouped(items: Iterable[Any], key: Any) -> dict[Any, list[Any]]:
    groups: dict[Any, list[Any]] = defaultdict(list)
    for item in items:
        groups[key(item)].append(item)
    return groups
