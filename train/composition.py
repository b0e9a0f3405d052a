"""What came of preference data: which rows, toward which objectives, and what could not be used."""

from collections import Counter
from dataclasses import dataclass, field

from train.readers import Skipped
from train.rows import Row


@dataclass
class Report:
    """What came of the data: rows by kind and source, objectives, characters, and what could not be used."""

    rows: Counter[str] = field(default_factory=Counter)
    objectives: Counter[str] = field(default_factory=Counter)
    characters: Counter[str] = field(default_factory=Counter)
    skipped: Skipped = field(default_factory=Skipped)
    short: list[str] = field(default_factory=list)  # of what was asked for, what there is too little of

    def add(self, row: Row) -> None:
        name = f"{row.kind} {row.source}"
        self.rows[name] += 1
        self.characters[name] += len(row.draft) + len(row.target)
        self.objectives.update(aim.key for aim in row.objectives)

    def markdown(self) -> str:
        lines = ["| rows | kind and source | characters a row |", "| --- | --- | --- |"]
        lines += [f"| {count} | {name} | {self.characters[name] // count} |" for name, count in self.rows.most_common()]
        lines += ["", "| rows | objective |", "| --- | --- |"]
        lines += [f"| {count} | {name} |" for name, count in self.objectives.most_common()]
        lines += ["", "| not used | why | the first of them |", "| --- | --- | --- |"]
        for reason, count in self.skipped.most_common():
            lines.append(f"| {count} | {reason} | {', '.join(self.skipped.where.get(reason, []))} |")
        return "\n".join(lines) + "\n"
