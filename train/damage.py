"""Good answers damaged by rule along one objective: what a corrector must mend when that objective is named.

Each kind is a pure function of text and a random generator, and gives None where it finds nothing to
damage. `HELD_OUT` kinds are never trained on: they are the unseen objectives of an evaluation.
"""

import itertools
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
_BEGUN = (
    "Remember, the key to all of this is to take your time and to",
    "In addition to what has been said, it is also a good idea to keep",
    "Finally, do not forget that there are other ways to do this, such as",
    "Another thing to think about is whether the",
    "It is also worth saying that, in most cases, people who",
    "Once you have done this, the next step would be to look for the",
    "For example, if you were to ask somebody who has never",
    "Overall, the most important part is that you",
)
_JARGON = {
    "use": "utilise", "uses": "utilises", "help": "facilitate", "helps": "facilitates", "start": "commence",
    "end": "terminate", "make": "fabricate", "show": "elucidate", "get": "procure", "need": "necessitate",
    "about": "pertaining to", "because": "owing to the fact that", "many": "a multiplicity of", "also": "additionally",
    "but": "notwithstanding which", "good": "efficacious", "buy": "acquire", "try": "endeavour to", "way": "modality",
    "before": "antecedent to", "after": "subsequent to", "often": "recurrently", "best": "optimal",
}  # fmt: skip

_WORDY = {
    "because": "due to the fact that", "now": "at this point in time", "if": "in the event that", "to": "in order to",
    "about": "with regard to", "can": "has the ability to", "before": "prior to the time when",
    "often": "on many occasions", "for": "for the purpose of", "many": "a large number of",
    "although": "despite the fact that", "most": "the vast majority of", "like": "along the lines of",
    "when": "at the time when", "all": "each and every one of", "important": "of great importance",
    "must": "is obliged to", "soon": "in the not too distant future", "always": "at all times",
    "never": "at no point in time",
}  # fmt: skip
_LEADS = (
    "It is important to note that", "It is worth mentioning that", "One should keep in mind that", "The fact is that",
    "It goes without saying that", "What is more, it should be said that", "As a matter of fact,", "Basically,",
    "It should be pointed out that", "When all is said and done,", "In actual fact,", "Generally speaking,",
    "It can be said that", "At the end of the day,", "It is interesting to observe that", "In my humble opinion,",
)  # fmt: skip
_AGAIN = (
    "In other words,", "Again,", "To repeat,", "As said before,", "Once more,", "That is to say,", "To say it again,",
)  # fmt: skip
_GRAMMAR = {
    "is": "are", "are": "is", "was": "were", "were": "was", "has": "have", "have": "has", "does": "do", "an": "a",
    "them": "they", "their": "there", "its": "it's", "than": "then", "your": "you're", "this": "these",
    "these": "this", "much": "many", "many": "much", "better": "more better", "can": "can to", "me": "I",
    "went": "goed", "made": "maked", "people": "peoples", "information": "informations", "taken": "took",
    "written": "wrote", "known": "knowed", "to": "for to", "in": "at", "on": "in", "of": "off", "well": "good",
    "children": "childs", "should": "should to",
}  # fmt: skip
_START = r"(?:\A|(?<=[.!?])[ \t]+)(?=(?:The|This|It|They|You|There|We|In|These|If) [a-z])"

_ITEM = re.compile(r"\A(?:[-*•]|\d+[.)])\s+")
_ENDED = re.compile(r"[.!?:)\]\"'`*’”]\s*\Z")

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


def backwards(found: list[re.Match[str]], most: int, rng: random.Random) -> list[re.Match[str]]:
    """Some of them, the last first, so that what is changed at one moves none that is still to come."""
    return sorted(rng.sample(found, min(len(found), most)), key=lambda match: match.start(), reverse=True)


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


def grammar(text: str, rng: random.Random) -> str | None:
    """A wrong form here and there: of about every fourth word that has one."""

    def wrong(match: re.Match[str]) -> str:
        return _GRAMMAR[match.group()] if rng.random() < 0.25 else match.group()

    damaged = re.sub(rf"\b(?:{'|'.join(_GRAMMAR)})\b", wrong, text)
    return damaged if damaged != text else None


def stutter(text: str, rng: random.Random) -> str | None:
    """A word twice twice."""
    words = list(re.finditer(r"(?<= )[a-z]+(?= )", text))
    for word in backwards(words, rng.randint(1, 4), rng):
        text = f"{text[: word.end()]} {word.group()}{text[word.end() :]}"
    return text if words else None


def wordy(text: str, rng: random.Random) -> str | None:
    """Long phrases in place of short words, and before sentences."""
    share = rng.choice((0.2, 0.5))

    def longer(match: re.Match[str]) -> str:
        return _WORDY[match.group()] if rng.random() < share else match.group()

    damaged = re.sub(rf"(?<=[a-z,] )(?:{'|'.join(_WORDY)})(?= [a-z])", longer, text)
    starts = list(re.finditer(_START, damaged))
    for start in backwards(starts, rng.randint(0, 3), rng):
        at = start.end()
        damaged = f"{damaged[:at]}{rng.choice(_LEADS)} {damaged[at].lower()}{damaged[at + 1 :]}"
    return damaged if damaged != text else None


def restate(text: str, rng: random.Random) -> str | None:
    """Sentences said again at once, announced as such."""
    starts = list(re.finditer(_START + r"([^.!?]{15,}[.!?])(?=\s|\Z)", text))
    for start in backwards(starts, rng.randint(1, 2), rng):
        said = start.group(1)
        text = f"{text[: start.end()]} {rng.choice(_AGAIN)} {said[0].lower()}{said[1:]}{text[start.end() :]}"
    return text if starts else None


def shuffle(text: str, rng: random.Random) -> str | None:
    said = sentences(text)
    if not 3 <= len(said) <= 5 or "\n" in text:
        return None
    order = said[:]
    while order == said:
        rng.shuffle(order)
    return " ".join(order)


def loop(text: str, rng: random.Random) -> str | None:
    """One sentence said over and over, the last time cut off: as small models end when they find no end."""
    said = [sentence for sentence in sentences(text) if len(sentence) > 20]
    if not said:
        return None
    again = rng.choice(said).strip()
    whole = " ".join([again] * rng.randint(2, 5))
    return f"{text} {whole} {again[: rng.randint(5, len(again) - 1)].rstrip('.!?')}".rstrip()


def cut(text: str, rng: random.Random) -> str | None:
    """A further sentence is begun and not ended, as at a limit of tokens."""
    begun = rng.choice(_BEGUN).split()
    between = "\n\n" if "\n\n" in text else " "
    return text + between + " ".join(begun[: rng.randint(2, len(begun))])


def broken_off(text: str, rng: random.Random) -> tuple[str, str] | None:
    """The text broken off within a sentence, as at a limit of tokens, and what of it was ended before."""
    parts = pieces(text)[: rng.choice((8, 100, 100, 100))]
    within = [number for number, part in enumerate(parts) if number and len(part.strip()) > 12]
    if not within:
        return None
    number = rng.choice(within[len(within) // 2 :])
    ended = "".join(parts[:number])
    begun = parts[number][: rng.randint(2, len(parts[number].strip()) - 4)].rstrip(" .,:;!?)*\"'")
    return (ended + begun, ended.rstrip()) if is_ended(ended) and begun else None


def begun(text: str, rng: random.Random) -> tuple[str, str, str] | None:
    """As `broken_off`, and besides the text up to the end of the sentence, as it was; None if it is not ended there."""
    if (found := broken_off(text, rng)) is None:
        return None
    draft, before = found
    borders = itertools.accumulate(len(piece) for piece in pieces(text))
    whole = text[: next(border for border in borders if border >= len(draft))].rstrip()
    return (draft, before, whole) if is_ended(whole) else None


def is_ended(text: str) -> bool:
    """Does it end where a sentence, a list's introduction, code or a formula may end?"""
    return _ENDED.search(text) is not None


def jargon(text: str, rng: random.Random) -> str | None:
    def swap(match: re.Match[str]) -> str:
        word = match.group()
        other = _JARGON.get(word.lower(), word)
        return other.capitalize() if word[0].isupper() else other

    damaged = re.sub(r"[A-Za-z]+", swap, text)
    return damaged if damaged != text else None


def shout(text: str, rng: random.Random) -> str | None:
    return re.sub(r"[.!?](?=\s|\Z)", "!!!", text.upper())


# What each kind harms: the objectives that, any of them named, ask for it to be mended. The first one is its own.
KINDS: dict[str, tuple[Kind, tuple[str, ...]]] = {
    "repeat": (repeat, ("repetition", "helpfulness")),
    "loop": (loop, ("repetition", "helpfulness")),
    "cut": (cut, ("fluency", "helpfulness")),
    "pad": (pad, ("length", "relevance")),
    "insult": (insult, ("harmlessness",)),
    "stray": (stray, ("relevance", "helpfulness", "coherence")),
    "misspell": (misspell, ("fluency", "style", "standard_english")),
    "shuffle": (shuffle, ("coherence",)),
    "grammar": (grammar, ("fluency", "style", "standard_english")),
    "stutter": (stutter, ("fluency", "repetition", "style", "standard_english")),
    "wordy": (wordy, ("length",)),
    "restate": (restate, ("repetition", "length")),
}
HELD_OUT: dict[str, tuple[Kind, tuple[str, ...]]] = {
    "jargon": (jargon, ("readability",)),
    "shout": (shout, ("professional",)),
}


def cleaned(text: str) -> str:
    """A model's answer without its own loops: each sentence once, and none at the end that was not ended.

    The text itself where it has neither.
    """
    kept, _ = _told_apart(text)
    return "".join(kept).rstrip()


def said_twice(text: str) -> list[str]:
    """The sentences and lines that `cleaned` leaves out because they have been there before."""
    return _told_apart(text)[1]


def _told_apart(text: str) -> tuple[list[str], list[str]]:
    kept: list[str] = []
    again: list[str] = []
    seen: set[str] = set()
    for piece in pieces(text.rstrip()):
        said = _ITEM.sub("", " ".join(piece.split())).casefold()
        (again if len(said) > 12 and said in seen else kept).append(piece)
        seen.add(said)
    # Where the items of a list end without a stop, that the last one does is no sign of a limit.
    if len(kept) > 1 and not is_ended(kept[-1]) and is_ended(kept[-2]):
        kept.pop()
    return kept, again


def pieces(text: str) -> list[str]:
    """Sentences and lines with the white space after them; joined, they are the text. A list's numbers end none."""
    return re.findall(r".+?(?:(?<=[^\s\d][.!?])[ \t]+(?=[A-Z0-9\"'*])|\n+|\Z)", text, re.DOTALL)
