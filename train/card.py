"""The model card of an export: what it was made of and how, what that cost, what it is worth, what it is not for.

Reads what a run has left behind (`run.json`, the stages' `log.jsonl`) and the reports that are given; of what
is not on record it says so. In the form that Hugging Face reads: YAML in front, Markdown behind.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

# Answers that carry terms of their own, by what their licence says.
_TERMS = ("openai", "llama", "anthropic", "cc-by-nc", "research", "unknown", "terms", "none")

_NOT_FOR = """\
Advice that somebody acts on without reading it: medical, legal, financial, or where a life hangs on it. It rewrites
form and manner; it knows no more facts than its base, and may lose or bend one. Judging people, or deciding about
them. Languages that the data above does not have. Serving without the gate and the protected spans that it was
measured with.
"""


@dataclass(frozen=True, slots=True)
class Stage:
    """What one stage of training cost. `tokens`: of one pass over its rows. `loss`: of its first and last steps."""

    name: str
    rows: int
    left_out: int
    tokens: int
    steps: int
    hours: float
    device: str
    loss: tuple[float, float]


def stages(run: Path) -> list[Stage]:
    """From the logs of a run's stages, resumed ones too."""
    return [_stage(log.parent.name, _lines(log)) for log in sorted(run.glob("[0-9]-*/log.jsonl"))]


def card(name: str, adapter: Path, reports: Iterable[Path]) -> str:
    """Of an adapter in a run's folder. `reports`: Markdown of `metaaligner train evaluate`, taken in as they are."""
    run = adapter.parent
    told = json.loads((run / "run.json").read_text(encoding="utf-8")) if (run / "run.json").is_file() else None
    done = stages(run)
    front = {
        "base_model": told["base"] if told else None,
        "library_name": "peft",
        "pipeline_tag": "text-generation",
        "tags": ["metaaligner", "corrector"],
        "datasets": sorted({row["source"] for one in _runs(told) for row in one["data"]}) if told else None,
    }
    results = [_demoted(path.read_text(encoding="utf-8")) for path in reports]
    parts = [
        f"---\n{yaml.safe_dump({key: value for key, value in front.items() if value}, sort_keys=False)}---",
        f"# {name}",
        "A corrector for metaaligner-gateway (MetaAligner, arXiv 2403.17141): it rewrites an answer toward objectives "
        "that are named in plain sentences.",
        "## Data and licences",
        *(_seen(told) if told else ["Not on record."]),
        "## Settings",
        _settings(told) if told else "Not on record.",
        *_blend(adapter),
        "## Cost",
        _cost(done) if done else "Not on record.",
        "## Results",
        *(results or ["Not measured. `metaaligner train evaluate` measures."]),
        "## Not for",
        _NOT_FOR,
    ]
    return "\n\n".join(part.strip() for part in parts) + "\n"


def _runs(told: dict[str, Any]) -> list[dict[str, Any]]:
    """This run, and those that it went on from, as far as they are on record."""
    before = told.get("before")
    return [told, *(_runs(before) if before else [])]


def _seen(told: dict[str, Any]) -> list[str]:
    """What this run saw, and what was seen before it."""
    parts = []
    for run in _runs(told):
        parts.append(_data(run["data"]))
        if run["start"] and not run.get("before"):
            parts.append(f"Before that, it was {run['start']}: what that saw is not on record here.")
        elif run["start"]:
            parts.append(f"Before that, as {run['start']}:")
    return parts


def _data(rows: Sequence[dict[str, Any]]) -> str:
    lines = ["| source | licence | stage | rows |", "| --- | --- | --- | --- |"]
    lines += [f"| {row['source']} | {row['licence']} | {row['kind']} | {row['rows']} |" for row in rows]
    own_terms = sorted({row["licence"] for row in rows if any(word in row["licence"].lower() for word in _TERMS)})
    if own_terms:
        lines += ["", f"**Rows with terms of their own, which bind who uses this model: {', '.join(own_terms)}.**"]
    return "\n".join(lines)


def _settings(told: dict[str, Any]) -> str:
    lines = ["| setting | value |", "| --- | --- |", f"| base | {told['base']} |"]
    lines += [f"| trained further from | {told['start']} |"] if told["start"] else []
    for name, value in told["settings"].items():
        shown = ", ".join(str(one) for one in value) if isinstance(value, list) else value
        lines.append(f"| {name} | {shown} |")
    return "\n".join(lines)


def _blend(adapter: Path) -> list[str]:
    if not (adapter / "blend.json").is_file():
        return []
    told = json.loads((adapter / "blend.json").read_text(encoding="utf-8"))
    return [f"Of these weights {told['share']:g} are of the run's {told['after']}, the rest is {told['before']}."]


def _cost(done: Sequence[Stage]) -> str:
    lines = [
        "| stage | rows | left out as too long | tokens a pass | steps | hours | device | loss, first and last |",
        "| --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for one in done:
        first, last = one.loss
        lines.append(
            f"| {one.name} | {one.rows} | {one.left_out} | {one.tokens:,} | {one.steps} | {one.hours:.2f} "
            f"| {one.device} | {first:.3f}, {last:.3f} |"
        )
    return "\n".join(lines)


def _stage(name: str, lines: Sequence[dict[str, Any]]) -> Stage:
    first = next(line for line in lines if "rows" in line)
    # Steps after the last checkpoint of a process that was killed are done again: the later one counts.
    losses = list({line.get("step", n): line["loss"] for n, line in enumerate(lines) if "loss" in line}.values())
    # A process that goes on with a stage starts its clock anew.
    clocks = [line["seconds"] for line in lines]
    ends = [now for now, then in zip(clocks, [*clocks[1:], 0.0], strict=True) if then < now]
    return Stage(
        name=name,
        rows=first["rows"],
        left_out=first["left_out"],
        tokens=first["tokens"],
        steps=len(losses),
        hours=sum(ends) / 3600,
        device=first.get("device", "not on record"),
        loss=(_mean(losses[:5]), _mean(losses[-5:])),
    )


def _mean(values: Sequence[float]) -> float:
    return sum(values) / max(1, len(values))


def _lines(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]


def _demoted(report: str) -> str:
    """A report's headings, below those of the card."""
    return "\n".join(f"##{line}" if line.startswith("#") else line for line in report.splitlines())
