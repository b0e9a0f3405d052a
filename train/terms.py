"""Objectives that ask for something of this answer alone: a word for another, an opening, an end, so many sentences.

No two of them are worded alike, so that nothing but reading one tells what it asks for. Each is a pure function of a
good answer and a random generator, and gives the draft, what it is to become, and the objective; None where the
answer has no place for it.
"""

import random
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from corrector.objectives import Objective
from train.damage import pieces, sentences

_WORD = re.compile(r"\b[a-z]{4,}\b")
_COMMON = {
    "that", "this", "with", "from", "have", "will", "been", "were", "they", "them", "then", "than", "your",
    "their", "there", "these", "those", "when", "what", "which", "while", "would", "could", "should", "about",
    "into", "over", "also", "some", "more", "most", "such", "other", "only", "very", "just", "like", "does",
    "make", "made", "many", "much", "each", "because", "being", "between", "both", "after", "before", "where",
    "here", "even", "well", "it's", "don't",
}  # fmt: skip
_NUMBERS = ("no", "one", "two", "three", "four", "five")


@dataclass(frozen=True)
class Pool:
    """What is asked for. Openings and endings may name a `{name}` or a `{word}`."""

    words: Sequence[str]
    names: Sequence[str]
    openings: Sequence[str]
    endings: Sequence[str]

    def filled(self, phrases: Sequence[str], rng: random.Random) -> str:
        return rng.choice(phrases).format(name=rng.choice(self.names), word=rng.choice(self.words))


TRAINED = Pool(
    words=(
        "guest", "member", "partner", "harbour", "lantern", "meadow", "copper", "signal", "orchard",
        "compass", "ribbon", "voyage", "method", "approach", "system", "option", "device", "garden",
        "journey", "pattern", "quality", "figure", "service", "feature", "account", "project", "measure",
        "purpose", "material", "building", "colleague", "citizen", "solution", "workshop", "programme",
        "region", "village", "station", "market", "traveller", "neighbour", "product", "object", "element",
        "detail", "effort", "result", "aspect", "moment", "season", "subject", "chapter", "article",
    ),
    names=(
        "Anna", "Sam", "Priya", "Omar", "Lucy", "Chen", "Maria", "Tom", "Fatima", "Jonas", "Keiko", "Pedro",
        "Nina", "Ali", "Grace", "Victor", "Ines", "Hugo", "Mei", "Ruth", "Carlos", "Amara", "Ivan", "Zoe",
        "Leila", "Max", "Olga", "Ben",
    ),
    openings=(
        "Dear {name},", "Hello {name}!", "Here is what we know:", "In short:", "Answer:",
        "Thank you for writing to us.", "A word before the answer: this is general advice.", "Good day.", "Our reply:",
        "Hi {name},", "As of today:", "For {name}:", "Summary:", "This is what our team says:", "To the point:",
        "Welcome to our {word} desk.",
    ),
    endings=(
        "Kind regards, {name}", "Stay safe!", "Call us if anything is unclear.", "Yours, the {word} team",
        "End of answer.", "See the handbook for more.", "This is no legal advice.", "Thank you for asking.",
        "Best wishes, {name}", "Over.", "Ask {name} for more about this.", "Please check this with an expert.",
        "Written by the {word} team.", "Take care!",
    ),
)  # fmt: skip
# For evaluations: no row of any training has one of these.
HELD_OUT = Pool(
    words=(
        "passenger", "harvest", "cabinet", "violin", "anchor", "tenant", "resident", "blanket", "corridor", "gallery",
    ),
    names=("Bruno", "Selma", "Dimitri", "Aisha", "Thora", "Kwame", "Linnea", "Rafael"),
    openings=(
        "From the desk of {name}:", "The {word} office writes:", "Thanks for your patience.", "Before we begin: relax.",
        "{name} here.", "Our view is this.",
    ),
    endings=(
        "Sincerely yours, {name}", "Have a nice day in the {word}!", "Prices may change.", "Sent from the {word} line.",
        "More on page nine.", "{name} will tell you the rest.",
    ),
)  # fmt: skip

Term = Callable[[str, random.Random, Pool], tuple[str, str, str] | None]


def _told(rng: random.Random, *ways: str, **parts: str) -> str:
    return rng.choice(ways).format(**parts)


def word_for_word(text: str, rng: random.Random, pool: Pool) -> tuple[str, str, str] | None:
    """Another word is put where a good one was: the objective asks for the good one."""
    if (swapped := _swapped(text, rng, pool)) is None:
        return None
    own, other, draft = swapped
    return draft, text, _word(own, other, rng)


def house_word(text: str, rng: random.Random, pool: Pool) -> tuple[str, str, str] | None:
    """The other way round: the answer's own word is not wanted."""
    if (swapped := _swapped(text, rng, pool)) is None:
        return None
    own, other, target = swapped
    return text, target, _word(other, own, rng)


def _swapped(text: str, rng: random.Random, pool: Pool) -> tuple[str, str, str] | None:
    """A word of the text, one that it does not have, and the text with that in its place."""
    own = sorted({word for word in _WORD.findall(text) if word not in _COMMON})
    others = [word for word in pool.words if not re.search(rf"\b{word}\b", text)]
    if not own or not others:
        return None
    word, other = rng.choice(own), rng.choice(others)
    return word, other, re.sub(rf"\b{word}\b", other, text)


def _word(right: str, wrong: str, rng: random.Random) -> str:
    return _told(
        rng,
        'The response should say "{right}" and not "{wrong}"',
        'The response should use the word "{right}" in place of "{wrong}"',
        'The response should never say "{wrong}": the word is "{right}"',
        'Where others write "{wrong}", the response should write "{right}"',
        'The response should call it "{right}", not "{wrong}"',
        right=right,
        wrong=wrong,
    )


def without(text: str, rng: random.Random, pool: Pool) -> tuple[str, str, str] | None:
    """Something is not to be spoken of: the sentence that does goes."""
    said = sentences(text)
    if "\n" in text or not 3 <= len(said) <= 12:
        return None
    at = rng.randrange(1, len(said))
    rest = [sentence for number, sentence in enumerate(said) if number != at]
    only = [word for word in _WORD.findall(said[at]) if word not in _COMMON and not any(word in one for one in rest)]
    if not only:
        return None
    asked = _told(
        rng,
        'The response should not mention "{word}"',
        'The response should leave out what it says of "{word}"',
        'The response should not contain the word "{word}"',
        "The response should say nothing of {word}",
        word=rng.choice(only),
    )
    return text, " ".join(rest), asked


_BEGINS = (
    'The response should begin with "{phrase}"',
    'The first words of the response should be "{phrase}"',
    'The response should open with the words "{phrase}"',
)
_ENDS = (
    'The response should end with "{phrase}"',
    'The last words of the response should be "{phrase}"',
    'The response should close with the sentence "{phrase}"',
)
_UNWANTED = 'The words "{phrase}" are not wanted'


def begins(text: str, rng: random.Random, pool: Pool) -> tuple[str, str, str]:
    phrase = pool.filled(pool.openings, rng)
    return text, f"{phrase} {text}", _told(rng, *_BEGINS, phrase=phrase)


def ends(text: str, rng: random.Random, pool: Pool) -> tuple[str, str, str]:
    phrase = pool.filled(pool.endings, rng)
    return text, f"{text} {phrase}", _told(rng, *_ENDS, phrase=phrase)


def begins_no_more(text: str, rng: random.Random, pool: Pool) -> tuple[str, str, str]:
    phrase = pool.filled(pool.openings, rng)
    asked = _told(rng, 'The response should not begin with "{phrase}"', _UNWANTED, phrase=phrase)
    return f"{phrase} {text}", text, asked


def ends_no_more(text: str, rng: random.Random, pool: Pool) -> tuple[str, str, str]:
    phrase = pool.filled(pool.endings, rng)
    asked = _told(rng, 'The response should not end with "{phrase}"', _UNWANTED, phrase=phrase)
    return f"{text} {phrase}", text, asked


def named(text: str, rng: random.Random, pool: Pool) -> tuple[str, str, str] | None:
    """The reader is called by name."""
    start = re.match(r"(?:The|This|It|They|You|There|We|In|These|If|To|When|A|An|Yes|No)\b", text)
    if start is None:
        return None
    name = rng.choice(pool.names)
    asked = _told(
        rng,
        "The response should call the user {name}",
        "The response should begin by addressing {name}",
        "The reader is {name}, and the response should call them so at its beginning",
        name=name,
    )
    return text, f"{name}, {text[0].lower()}{text[1:]}", asked


def at_most(text: str, rng: random.Random, pool: Pool) -> tuple[str, str, str] | None:
    """No more than so many sentences: the first ones stay."""
    said = pieces(text)
    if not 3 <= len(said) <= 12 or not all(re.search(r"[^\s\d][.!?]\s*\Z", one) for one in said):
        return None
    most = min(rng.choice((1, 2, 2, 2, 3, 3, 4, 5)), len(said) - 1)
    asked = _told(
        rng,
        "The response should have no more than {count}",
        "The response should be at most {count} long",
        "The response should be at most {count}",
        "The response should be cut down to {count}",
        "The response should not be longer than {count}",
        count=f"{_NUMBERS[most]} sentence{'s' if most > 1 else ''}",
    )
    return text, "".join(said[:most]).rstrip(), asked


KINDS: dict[str, Term] = {
    "word_for_word": word_for_word,
    "house_word": house_word,
    "without": without,
    "begins": begins,
    "ends": ends,
    "begins_no_more": begins_no_more,
    "ends_no_more": ends_no_more,
    "named": named,
    "at_most": at_most,
}
HARD, SO_OFTEN = ("at_most", "without"), 0.6  # what is learnt last; how often it is tried first
_TITLES = ("House style", "Wording", "Terms", "Our rules", "Style guide", "Request", "Form", "Editor's note", "Brief")


def objective(kind: str, said: str, rng: random.Random) -> Objective:
    least = 0.1 if kind == "at_most" else None  # as an objective that asks for less has to say to the gate
    return Objective(key="terms", name=rng.choice(_TITLES), description=said, min_ratio=least)


def draw(text: str, rng: random.Random) -> tuple[str, str, str, Objective] | None:
    """One that this answer has a place for: its kind, the draft, what it is to become, and the objective."""
    order = rng.sample(list(KINDS), len(KINDS))
    if rng.random() < SO_OFTEN:
        order.sort(key=lambda kind: kind not in HARD)
    for kind in order:
        if (found := KINDS[kind](text, rng, TRAINED)) is not None:
            draft, target, said = found
            return kind, draft, target, objective(kind, said, rng)
    return None
