"""Good answers damaged by rule along one objective: what a corrector must mend when that objective is named.

Each kind is a pure function of text and a random generator, and gives None where it finds nothing to
damage. `HELD_OUT` kinds are never trained on: they are the unseen objectives of an evaluation.
"""

import random
import re
from collections.abc import Callable

_SENTENCE = re.compile(r"(?<=[.!?])\s+(?=[A-Z0-9\"'])")
_FILLER = (
    "It is important to note that this is something worth noting.",
    "As everybody knows, there are many things that could be said about this.",
    "Before going on, it should be mentioned that the following will be mentioned.",
    "At the end of the day, it is what it is.",
    "This is a very interesting topic, and there is a lot to say about it.",
    "In other words, and to put it differently, let us continue.",
    "With that being said, let us now move on to the next point.",
    "I hope that this makes sense so far, and if not, please keep reading.",
    "Needless to say, this goes without saying.",
    "All things considered, one could say that this is how it is.",
)
_RUDE = (
    "What a stupid question.",
    "Only an idiot would not know that.",
    "People like you never get anything right.",
    "Honestly, you are too dumb for this.",
    "Shut up and listen for once.",
    "You are pathetic for even asking.",
    "I hate answering fools like you.",
    "Nobody cares about you or your problems.",
    "Your kind should not be allowed to ask anything.",
    "Get lost, loser.",
)
_ASIDE = (
    "My cousin bought a red bicycle last summer.",
    "Penguins cannot fly, but they swim very well.",
    "The train to the coast leaves at half past nine.",
    "I had noodles for lunch yesterday.",
    "The tallest tower in the town was painted green.",
    "Some people collect stamps from distant countries.",
    "It rained for three days in the mountains.",
    "A good violin can cost more than a house.",
    "The cat next door sleeps on the roof.",
    "Chess was played long before it had its present rules.",
)
_JARGON = {
    "use": "utilise", "uses": "utilises", "help": "facilitate", "helps": "facilitates", "start": "commence",
    "end": "terminate", "make": "fabricate", "show": "elucidate", "get": "procure", "need": "necessitate",
    "about": "pertaining to", "because": "owing to the fact that", "many": "a multiplicity of", "also": "additionally",
    "but": "notwithstanding which", "good": "efficacious", "buy": "acquire", "try": "endeavour to", "way": "modality",
    "before": "antecedent to", "after": "subsequent to", "often": "recurrently", "best": "optimal",
}  # fmt: skip

Kind = Callable[[str, random.Random], str | None]


def sentences(text: str) -> list[str]:
    return _SENTENCE.split(text)


def _insert(text: str, extra: str, rng: random.Random) -> str:
    """A sentence more, at a border between sentences."""
    borders = [match.end() for match in _SENTENCE.finditer(text)]
    at = rng.choice([0, *borders, len(text)])
    if at == len(text):
        return f"{text} {extra}"
    return f"{text[:at]}{extra} {text[at:]}"


def repeat(text: str, rng: random.Random) -> str | None:
    said = sentences(text)
    if len(said) < 2:
        return None
    for _ in range(rng.randint(1, 3)):
        text = _insert(text, rng.choice(said).strip(), rng)
    return text


def pad(text: str, rng: random.Random) -> str | None:
    for filler in rng.sample(_FILLER, rng.randint(1, 3)):
        text = _insert(text, filler, rng)
    return text


def insult(text: str, rng: random.Random) -> str | None:
    for rude in rng.sample(_RUDE, rng.randint(1, 2)):
        text = _insert(text, rude, rng)
    return text


def stray(text: str, rng: random.Random) -> str | None:
    for aside in rng.sample(_ASIDE, rng.randint(1, 2)):
        text = _insert(text, aside, rng)
    return text


def misspell(text: str, rng: random.Random) -> str | None:
    """Letters swapped or doubled, articles dropped: in about every eighth word."""
    words = re.split(r"(\s+)", text)
    changed = 0
    for index, word in enumerate(words):
        if rng.random() > 0.12 or not word.isalpha():
            continue
        if word.lower() in ("a", "an", "the"):
            words[index] = ""
        elif len(word) > 3:
            at = rng.randrange(1, len(word) - 2)
            swapped = word[:at] + word[at + 1] + word[at] + word[at + 2 :]
            words[index] = swapped if rng.random() < 0.7 else word[:at] + word[at] + word[at:]
        changed += words[index] != word
    return re.sub(r"[ \t]{2,}", " ", "".join(words)) if changed else None


def shuffle(text: str, rng: random.Random) -> str | None:
    said = sentences(text)
    if not 3 <= len(said) <= 5 or "\n" in text:
        return None
    order = said[:]
    while order == said:
        rng.shuffle(order)
    return " ".join(order)


def jargon(text: str, rng: random.Random) -> str | None:
    def swap(match: re.Match[str]) -> str:
        word = match.group()
        other = _JARGON.get(word.lower(), word)
        return other.capitalize() if word[0].isupper() else other

    damaged = re.sub(r"[A-Za-z]+", swap, text)
    return damaged if damaged != text else None


def shout(text: str, rng: random.Random) -> str | None:
    return re.sub(r"[.!?](?=\s|\Z)", "!!!", text.upper())


# What each kind harms: the objective that, named, asks for it to be mended.
KINDS: dict[str, tuple[Kind, str]] = {
    "repeat": (repeat, "repetition"),
    "pad": (pad, "length"),
    "insult": (insult, "harmlessness"),
    "stray": (stray, "relevance"),
    "misspell": (misspell, "fluency"),
    "shuffle": (shuffle, "coherence"),
}
HELD_OUT: dict[str, tuple[Kind, str]] = {"jargon": (jargon, "readability"), "shout": (shout, "professional")}
