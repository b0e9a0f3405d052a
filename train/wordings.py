"""Objectives as rows name them, in several wordings (`wordings.yaml`), so that the text is read and not the name."""

import random
from collections.abc import Iterable, Iterator, Mapping, Sequence
from copy import copy
from pathlib import Path
from typing import Any

import yaml

from corrector.objectives import Objective


class Wordings:
    """Objectives as rows name them: of each, several names and descriptions."""

    def __init__(self, path: Path | None = None) -> None:
        source = path or Path(__file__).with_name("wordings.yaml")
        self._known: Mapping[str, Mapping[str, Any]] = yaml.safe_load(source.read_text(encoding="utf-8"))

    def __contains__(self, key: str) -> bool:
        return key in self._known

    def __iter__(self) -> Iterator[str]:
        """Those that rows can be made of: what only data is scored in is nothing to leave an answer alone under."""
        return (key for key, known in self._known.items() if not known.get("of_data"))

    def firsts(self) -> dict[str, Objective]:
        """All of them, as a corrector is asked with most often."""
        return {key: self.first(key) for key in self._known}

    def first(self, key: str) -> Objective:
        """As a corrector is asked with most often."""
        known = self._known[key]
        return Objective(key=key, name=known["names"][0], description=known["descriptions"][0])

    def draw(self, key: str, rng: random.Random) -> Objective:
        """Half of the time the first wording, else any; now and then under a name that says nothing."""
        known = self._known[key]
        names, descriptions = known["names"], known["descriptions"]
        first = rng.random() < 0.5
        name = names[0] if first else rng.choice(list(names))
        if rng.random() < 0.1:
            name = f"Aspect {rng.randint(1, 9)}"
        return Objective(key=key, name=name, description=descriptions[0] if first else rng.choice(list(descriptions)))

    def beside(self, own: Sequence[Objective]) -> "Wordings":
        """With objectives of somebody's own; a known one that they have worded anew means what they say.

        One that is not known yet is for the data that is scored in it: whether another answer meets it, nobody knows.
        """
        new = [aim for aim in own if aim.description not in self._known.get(aim.key, {}).get("descriptions", ())]
        if not new:
            return self
        made = copy(self)
        made._known = {**self._known, **{aim.key: self._own(aim) for aim in new}}
        return made

    def _own(self, aim: Objective) -> Mapping[str, Any]:
        of_data = self._known.get(aim.key, {"of_data": True}).get("of_data", False)
        return {"names": [aim.name], "descriptions": [aim.description], "of_data": of_data}

    def draw_all(self, keys: Iterable[str], rng: random.Random) -> tuple[Objective, ...]:
        """In random order."""
        drawn = [self.draw(key, rng) for key in keys]
        rng.shuffle(drawn)
        return tuple(drawn)
