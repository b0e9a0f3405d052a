"""Ways of writing that an objective may ask for or against, as damage by rule: `damage.py` has the rest.

Nothing here is a mistake. Whether an answer may hold emoji, or should be a list, is for its objective's text to say, so
these teach a corrector to read it: the same draft is changed where one is named, and left as it is where another one
is. Each is a pure function of a good answer and a random generator; it takes out what the objective asks for, or puts
in what it asks against, and gives None where it finds nothing to do, or where the answer is not in that manner itself.
"""

import random
import re

from corrector.objectives import Objective
from train.damage import Kind, backwards

_WORD = re.compile(r"[A-Za-z]+")
_ADJECTIVE = re.compile(r"\b(?:is|are|was|be|a|an|the)\s+(?=[a-z]{4,}(?:ful|ive|ous|al|ant|ent|able|ic|y|ing)\b)")
_ITEM = re.compile(r"(?m)^[ \t]*(?:[-*•]|\d+[.)])[ \t]+")
_EMOJI = ("😀", "😊", "👍", "🎉", "✨", "🙏", "🔥", "💡", "🤔", "❤️", "🚀", "😅")
_OPENERS = (
    "Sure!", "Certainly!", "Of course!", "Great question!", "Absolutely, I can help with that.", "Thanks for asking!",
    "Sure, here is an answer to your question:", "I would be happy to help you with this.", "Good question.",
)  # fmt: skip
_CLOSERS = (
    "I hope this helps!", "Let me know if you have any other questions.", "Feel free to ask if anything is unclear.",
    "Is there anything else that I can help you with?", "Happy to say more if you want me to.", "Good luck!",
)  # fmt: skip
_HEDGES = (
    "I think that", "It seems that", "Perhaps", "I could be wrong, but", "As far as I know,", "I am not sure, but",
    "If I remember correctly,", "It might be that",
)  # fmt: skip
_DISCLAIMERS = (
    "As an AI language model, I have no experiences of my own.",
    "As an AI, I do not have personal opinions.",
    "I am only a language model, so please take this with care.",
    "Please note that I am a computer program and not a person.",
    "As a chatbot, I cannot see or feel anything.",
)
_OATHS = ("damn", "bloody", "freaking", "crappy", "goddamn")
_ASIDES = ("as I said", "or so they say", "at least in my experience", "believe it or not", "no kidding", "by the way")
_CONTRACTED = {
    "do not": "don't", "does not": "doesn't", "did not": "didn't", "is not": "isn't", "are not": "aren't",
    "was not": "wasn't", "were not": "weren't", "cannot": "can't", "could not": "couldn't", "will not": "won't",
    "would not": "wouldn't", "should not": "shouldn't", "have not": "haven't", "has not": "hasn't", "it is": "it's",
    "that is": "that's", "there is": "there's", "you are": "you're", "we are": "we're", "they are": "they're",
    "I am": "I'm", "you will": "you'll", "it will": "it'll", "I have": "I've", "you have": "you've", "let us": "let's",
}  # fmt: skip
_FIGURES = ("one", "two", "three", "four", "five", "six", "seven", "eight", "nine", "ten", "eleven", "twelve")
_BRITISH = {
    "color": "colour", "colors": "colours", "favor": "favour", "favorite": "favourite", "flavor": "flavour",
    "flavors": "flavours", "behavior": "behaviour", "behaviors": "behaviours", "neighbor": "neighbour",
    "neighbors": "neighbours", "labor": "labour", "honor": "honour", "center": "centre", "centers": "centres",
    "theater": "theatre", "meter": "metre", "meters": "metres", "liter": "litre", "liters": "litres", "fiber": "fibre",
    "organize": "organise", "organized": "organised", "organization": "organisation", "realize": "realise",
    "recognize": "recognise", "recognized": "recognised", "minimize": "minimise", "maximize": "maximise",
    "analyze": "analyse", "prioritize": "prioritise", "apologize": "apologise", "specialized": "specialised",
    "traveling": "travelling", "traveled": "travelled", "canceled": "cancelled", "modeling": "modelling",
    "defense": "defence", "gray": "grey", "jewelry": "jewellery", "catalog": "catalogue",
    "personalized": "personalised", "optimize": "optimise",
}  # fmt: skip
_AMERICAN = {there: here for here, there in _BRITISH.items()}
_SLANG = {
    "going to": "gonna", "want to": "wanna", "have to": "gotta", "kind of": "kinda", "sort of": "sorta",
    "because": "cuz", "yes": "yeah", "no": "nah", "are not": "ain't", "is not": "ain't", "them": "'em",
    "children": "kids", "people": "folks", "friends": "buddies", "money": "bucks", "food": "grub", "good": "cool",
    "great": "awesome", "very": "super", "job": "gig", "police": "cops", "man": "dude", "thank you": "thx",
}  # fmt: skip
_VOCATIVES = ("my friend", "dear", "buddy", "mate", "sir", "my dear", "pal", "madam", "champ")
# Words that may lose their capital when two sentences become one, because no name is among them.
_PLAIN_STARTS = (
    "The", "This", "These", "That", "Those", "It", "They", "You", "Your", "If", "In", "There", "We", "He", "She",
    "For", "When", "While", "As", "At", "On", "To", "A", "An", "And", "But", "So", "Some", "Many", "Most", "Make",
    "Use", "Try", "Also", "Then", "Once", "After", "Before", "With", "By", "Its", "Their", "Additionally",
    "However", "Overall",
)  # fmt: skip
_LONG = 22  # words of a sentence
_VERY = ("very", "really", "extremely", "absolutely", "incredibly", "totally")
_QUESTIONS = (
    "Does that make sense?", "Are you with me so far?", "Why is that so?", "What comes next?", "Shall we go on?",
    "Have you ever tried that?", "Do you see what I mean?", "But what does that mean for you?",
)  # fmt: skip


def _sentences(text: str) -> list[re.Match[str]]:
    """Where a sentence of some length begins, but for the lines of a list."""
    return list(re.finditer(r"(?:\A|(?<=[.!?])[ \t]+)(?=[A-Z][^.!?]{20})", text))


def _some(found: list[re.Match[str]], most: int, rng: random.Random) -> list[re.Match[str]]:
    return backwards(found, rng.randint(1, most), rng)


def _swapped(text: str, words: dict[str, str]) -> str | None:
    """Whole words for others, a capital where there was one; not the last of a sentence ("as it is.")."""

    def other(match: re.Match[str]) -> str:
        said = match.group()
        new = words.get(said) or words.get(said.lower(), said)
        return new[0].upper() + new[1:] if said[0].isupper() else new

    pattern = "|".join(re.escape(word) for word in words)
    changed = re.sub(rf"\b(?:{pattern})\b(?=\s)", other, text, flags=re.IGNORECASE)
    return changed if changed != text else None


def emoji(text: str, rng: random.Random) -> str | None:
    ends = list(re.finditer(r"[.!?](?=\s|\Z)", text))
    if not text.isascii():
        return None
    for end in _some(ends, 4, rng):
        text = f"{text[: end.end()]} {rng.choice(_EMOJI)}{text[end.end() :]}"
    return text if ends else None


def opener(text: str, rng: random.Random) -> str | None:
    if re.match(r"(?i)(?:sure|certainly|of course|great|good|absolutely|thank|i would|i'd|hi\b|hello)", text):
        return None
    return rng.choice(_OPENERS) + rng.choice((" ", "\n\n")) + text


def closer(text: str, rng: random.Random) -> str | None:
    if re.search(r"(?i)\b(?:hope|let me know|feel free|anything else|happy to|good luck)\b", text):
        return None
    return text + rng.choice((" ", "\n\n")) + rng.choice(_CLOSERS)


def hedge(text: str, rng: random.Random) -> str | None:
    starts = _sentences(text)
    if re.search(r"(?i)\b(?:think|seems?|perhaps|maybe|might|may|could|as far as|not sure|probably)\b", text):
        return None
    for start in _some(starts, 3, rng):
        at = start.end()
        said = text[at:]
        proper = re.match(r"I\b|I'|[A-Z]{2}", said)
        text = f"{text[:at]}{rng.choice(_HEDGES)} {said if proper else said[0].lower() + said[1:]}"
    return text if starts else None


def disclaimer(text: str, rng: random.Random) -> str | None:
    if re.search(r"\bAI\b|language model|chatbot|computer program", text):
        return None
    said = rng.choice(_DISCLAIMERS)
    return f"{said} {text}" if rng.random() < 0.6 else f"{text} {said}"


def oath(text: str, rng: random.Random) -> str | None:
    if re.search(rf"\b(?:{'|'.join(_OATHS)})\b", text):
        return None
    spots = list(re.finditer(r"\b(?:the|a|this|your|my|some)\s+(?=[a-z])", text))
    for spot in _some(spots, 3, rng):
        text = f"{text[: spot.end()]}{rng.choice(_OATHS)} {text[spot.end() :]}"
    return text if spots else None


def aside(text: str, rng: random.Random) -> str | None:
    spots = [] if "(" in text else list(re.finditer(r"(?<=[a-z])(?=[.,;]\s)", text))
    for spot in _some(spots, 3, rng):
        text = f"{text[: spot.end()]} ({rng.choice(_ASIDES)}){text[spot.end() :]}"
    return text if spots else None


def contract(text: str, rng: random.Random) -> str | None:
    return None if re.search(r"[a-z]['’](?:t|s|re|ll|ve|m|d)\b", text) else _swapped(text, _CONTRACTED)


def expand(text: str, rng: random.Random) -> str | None:
    if _swapped(text, _CONTRACTED) is not None:
        return None
    return _swapped(text, {short: long for long, short in _CONTRACTED.items()})


def exclaim(text: str, rng: random.Random) -> str | None:
    if "!" in text:
        return None
    changed = re.sub(r"\.(?=\s|\Z)", lambda _: "!" if rng.random() < 0.7 else ".", text)
    return changed if changed != text else None


def figures(text: str, rng: random.Random) -> str | None:
    if re.search(r"\b\d{1,2}\b", text):
        return None
    return _swapped(text, {word: str(number) for number, word in enumerate(_FIGURES, 1) if word != "one"})


def british(text: str, rng: random.Random) -> str | None:
    return None if _swapped(text, _AMERICAN) is not None else _swapped(text, _BRITISH)


def american(text: str, rng: random.Random) -> str | None:
    return None if _swapped(text, _BRITISH) is not None else _swapped(text, _AMERICAN)


def bold(text: str, rng: random.Random) -> str | None:
    plain = not re.search(r"[*#`_]", text)
    words = [word for word in _WORD.finditer(text) if len(word.group()) > 3] if plain else []
    for word in _some(words, 6, rng):
        text = f"{text[: word.start()]}**{word.group()}**{text[word.end() :]}"
    return text if words else None


def listed(text: str, rng: random.Random) -> str | None:
    """Prose as a list, a sentence an item."""
    said = re.split(r"(?<=[.!?])[ \t]+(?=[A-Z])", text)
    if "\n" in text or not 2 <= len(said) <= 8:
        return None
    return "\n".join(f"- {sentence}" for sentence in said)


def run_on(text: str, rng: random.Random) -> str | None:
    """A list without its marks and its line breaks."""
    lines = text.split("\n")
    if sum(bool(_ITEM.match(line)) for line in lines) < 2:
        return None
    return " ".join(_ITEM.sub("", line).strip() for line in lines if line.strip())


def bullets(text: str, rng: random.Random) -> str | None:
    """A list with numbers as one without."""
    changed = re.sub(r"(?m)^([ \t]*)\d+[.)][ \t]+", r"\1- ", text)
    return changed if changed.count("\n- ") >= 1 and changed != text else None


def joined(text: str, rng: random.Random) -> str | None:
    """Short sentences run together: a border between two gives way to a comma, or to a semicolon."""
    borders = list(re.finditer(rf"(?<=[a-z])\.[ ]+(?=(?:{'|'.join(_PLAIN_STARTS)})\b)", text))
    if _longest_sentence(text) > _LONG:
        return None
    for border in _some(borders, 5, rng):
        after = text[border.end() :]
        text = text[: border.start()] + rng.choice((", and ", "; ", ", ", ", while ")) + after[0].lower() + after[1:]
    return text if _longest_sentence(text) > _LONG else None


def _longest_sentence(text: str) -> int:
    """In words."""
    return max(len(said.split()) for said in re.split(r"[.!?]\s|\n", text))


def lowercase(text: str, rng: random.Random) -> str | None:
    small = text.lower()
    return small if sum(a != b for a, b in zip(text, small, strict=False)) > 1 else None


def slang(text: str, rng: random.Random) -> str | None:
    if re.search(r"(?i)\b(?:gonna|wanna|gotta|kinda|sorta|cuz|yeah|nah|ain't|folks|dude|cool|awesome)\b|'em\b", text):
        return None
    return _swapped(text, _SLANG)


def vocative(text: str, rng: random.Random) -> str | None:
    spots = list(re.finditer(r"(?<=[a-z])(?=[.!]\s|[.!]\Z)", text))
    if re.search(rf", (?:{'|'.join(_VOCATIVES)})\b", text):
        return None
    who = rng.choice(_VOCATIVES)
    for spot in _some(spots, 3, rng):
        text = f"{text[: spot.end()]}, {who}{text[spot.end() :]}"
    return text if spots else None


def dashes(text: str, rng: random.Random) -> str | None:
    if re.search(r"—|–| - ", text):
        return None
    spots = list(re.finditer(r"(?<=[a-z]), (?=[a-z])", text))
    for spot in _some(spots, 4, rng):
        text = f"{text[: spot.start()]} — {text[spot.end() :]}"
    return text if spots else None


def ellipses(text: str, rng: random.Random) -> str | None:
    if "..." in text or "…" in text:
        return None
    ends = list(re.finditer(r"(?<=[a-z])\.(?=\s|\Z)", text))
    for end in _some(ends, 5, rng):
        text = f"{text[: end.start()]}...{text[end.end() :]}"
    return text if ends else None


def quoted(text: str, rng: random.Random) -> str | None:
    """Words in quotation marks that nobody has said."""
    words = [] if '"' in text else [word for word in _WORD.finditer(text) if len(word.group()) > 4]
    for word in _some(words, 4, rng):
        text = f'{text[: word.start()]}"{word.group()}"{text[word.end() :]}'
    return text if words else None


def intensify(text: str, rng: random.Random) -> str | None:
    if re.search(rf"(?i)\b(?:{'|'.join(_VERY)})\b", text):
        return None
    spots = list(_ADJECTIVE.finditer(text))
    for spot in _some(spots, 4, rng):
        text = f"{text[: spot.end()]}{rng.choice(_VERY)} {text[spot.end() :]}"
    return text if spots else None


def question(text: str, rng: random.Random) -> str | None:
    starts = [] if "?" in text else _sentences(text)
    for start in _some(starts, 2, rng):
        text = f"{text[: start.end()]}{rng.choice(_QUESTIONS)} {text[start.end() :]}"
    return text if starts else None


# What each kind goes against: the objectives that ask for it to be mended. The first one is its own.
KINDS: dict[str, tuple[Kind, tuple[str, ...]]] = {
    "emoji": (emoji, ("emoji",)),
    "opener": (opener, ("directness",)),
    "closer": (closer, ("closing",)),
    "hedge": (hedge, ("confidence",)),
    "disclaimer": (disclaimer, ("disclaimers",)),
    "oath": (oath, ("swearing", "harmlessness", "style", "standard_english")),
    "aside": (aside, ("asides",)),
    "contract": (contract, ("formality",)),
    "expand": (expand, ("informality",)),
    "exclaim": (exclaim, ("calm",)),
    "figures": (figures, ("numerals",)),
    "british": (british, ("american",)),
    "american": (american, ("british",)),
    "bold": (bold, ("plain_text",)),
    "listed": (listed, ("prose",)),
    "run_on": (run_on, ("list",)),
    "bullets": (bullets, ("numbered",)),
    "joined": (joined, ("short_sentences", "clarity")),
    "lowercase": (lowercase, ("capitals", "fluency", "style", "standard_english")),
    "slang": (slang, ("standard_english",)),
    "vocative": (vocative, ("address",)),
    "dashes": (dashes, ("dashes",)),
    "ellipses": (ellipses, ("full_stops",)),
    "quoted": (quoted, ("quotation_marks",)),
}
RARE = ("contract", "expand", "figures", "british", "american", "run_on", "bullets", "joined")  # that few answers allow
OBJECTIVES = {harmed[0]: change for change, harmed in KINDS.values()}
# Never trained on, and their objectives in no row: is a text read that nobody has learnt?
HELD_OUT: dict[str, tuple[Kind, Objective]] = {
    "intensify": (
        intensify,
        Objective(
            key="intensifiers",
            name="Sobriety",
            description="The response should do without words such as very, really and extremely",
        ),
    ),
    "question": (
        question,
        Objective(key="questions", name="No questions", description="The response should ask no questions"),
    ),
}


def suits(text: str, key: str, rng: random.Random) -> bool:
    """May the objective be named beside this text without a change? Of those that are no manner, always."""
    return key not in OBJECTIVES or OBJECTIVES[key](text, rng) is not None
