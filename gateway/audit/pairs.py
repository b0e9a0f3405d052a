"""What people preferred, as rows for `metaaligner train prepare pairs=FILE`: a deployment betters its own corrector."""

from collections import Counter
from collections.abc import Iterator
from typing import Any

Row = dict[str, Any]


def pairs_of(row: Row) -> Iterator[Row]:
    """Of an answer with its feedback: `weak`, `strong`, and the objectives in which `strong` is `better`.

    Feedback on one objective speaks for that one; feedback on none in particular for all that the answer was corrected
    toward, but those of which the same person says something else. Where people disagree the more of them decide; a
    tie, also among them, makes the two `equal`. Feedback is on the first choice of an answer.
    """
    text = next(iter(row["choices"]), None)
    if text is None or text["correction"] is None or text["correction"] == text["draft"]:
        return
    votes: dict[str, Counter[str]] = {key: Counter() for key in row["objectives"]}
    said: dict[str, dict[str | None, str]] = {}
    for one in row["feedback"]:
        said.setdefault(one["by"], {})[one["objective"]] = one["choice"]
    for told in said.values():
        general = {key: told[None] for key in row["objectives"] if None in told}
        for key, choice in {**general, **told}.items():
            if key is not None:
                votes.setdefault(key, Counter())[choice] += 1
    won: dict[str, list[str]] = {"correction": [], "draft": [], "tie": []}
    for key, counted in votes.items():
        if counted:
            ahead = counted["correction"] - counted["draft"]
            won["correction" if ahead > 0 else "draft" if ahead < 0 else "tie"].append(key)
    for stronger, weaker in (("correction", "draft"), ("draft", "correction")):
        if won[stronger]:
            yield _pair(row, text[weaker], text[stronger], won[stronger], [])
    if won["tie"]:
        yield _pair(row, text["draft"], text["correction"], [], won["tie"])


def _pair(row: Row, weak: str, strong: str, better: list[str], equal: list[str]) -> Row:
    told = row["descriptions"] or {}
    return {
        "context": row["context"] or [],
        "weak": weak,
        "strong": strong,
        "better": better,
        "equal": equal,
        "objectives": {key: list(told[key]) for key in (*better, *equal) if key in told},
        "source": f"audit:{row['tenant']}",
        "licence": "the tenant's own, by consent",
        "id": row["request_id"],
    }
