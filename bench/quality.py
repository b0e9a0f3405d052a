"""Of `make bench-segment-quality`'s report the tables that docs/performance.md shows."""

import re
from pathlib import Path

import click

from bench import Table, machine

# By the report's name for it. What is not asked for in particular is, in this one, the whole: its first condition.
SHOWN = {
    "What became of the drafts": "What became of the drafts",
    "Correction against draft": "Correction against draft",
    "Correction against unasked": "Segment by segment against the whole",
}


def section(report: str, title: str) -> str:
    found = re.search(rf"^## {title}\n\n(.*?)(?=^## |^!|\Z)", report, re.DOTALL | re.MULTILINE)
    assert found, f"the report has no section {title!r}"
    return f"{SHOWN[title]}:\n\n{found[1].strip()}\n"


@click.command()
@click.argument("report", type=click.Path(path_type=Path, exists=True))
def main(report: Path) -> None:
    told = report.read_text()
    Table("segment-quality").say("\n".join([f"{machine()}.", "", *(section(told, title) for title in SHOWN)]))


if __name__ == "__main__":
    main()
