"""`make performance`: docs/performance.md, from what each benchmark has written to build/bench.

The words stand in bench/performance.md; `{{peers}}` there is replaced by build/bench/peers.md, with the command above
that makes it. A benchmark that has not been run is said to be missing.
"""

import json
import re
from pathlib import Path

import click

ROOT = Path(__file__).parent


def filled(words: str, results: Path) -> str:
    def table(mark: re.Match[str]) -> str:
        name, command = mark[1], f"make bench-{mark[1]}"
        path = results / f"{name}.md"
        told = path.read_text().strip() if path.is_file() else f"*Not measured yet: `{command}`.*"
        return f"`{command}`: {told}"

    return re.sub(r"\{\{([a-z-]+)\}\}", table, words)


def plot(results: Path, picture: Path) -> None:
    """When the first corrected word and the last come, by the answer's length, in both modes."""
    import matplotlib as mpl

    mpl.use("Agg")
    from matplotlib import pyplot

    told = json.loads((results / "segments.json").read_text())
    figure, axes = pyplot.subplots(figsize=(7, 3.2))
    names = list(told["lengths"])
    for at, (mode, colour) in enumerate(zip(told["modes"], ("#8a8a8a", "#2f6db5", "#86b6e8"), strict=False)):
        firsts = [told["lengths"][name]["first"][at] for name in names]
        lasts = [told["lengths"][name]["last"][at] for name in names]
        places = [place + 0.2 * at - 0.2 for place in range(len(names))]
        axes.barh(
            places, [b - a for a, b in zip(firsts, lasts, strict=True)], 0.18, left=firsts, color=colour, label=mode
        )
    axes.axvline(1.0, color="black", linewidth=0.8)
    axes.set_yticks(range(len(names)), [f"{name} tokens" for name in names])
    axes.set_xlim(left=0)
    axes.set_xlabel("first to last corrected word, as shares of the policy's time (line: its last token)")
    axes.legend(frameon=False, loc="lower left")
    figure.tight_layout()
    figure.savefig(picture, dpi=110)


@click.command()
@click.option("--results", default=Path("build/bench"), show_default=True, type=click.Path(path_type=Path))
@click.option("--docs", default=Path("docs"), show_default=True, type=click.Path(path_type=Path))
def main(results: Path, docs: Path) -> None:
    if (results / "segments.json").is_file():
        plot(results, docs / "segments.png")
    (docs / "performance.md").write_text(filled((ROOT / "performance.md").read_text(), results))


if __name__ == "__main__":
    main()
