"""Answers made shorter, or easier to read, by rule: what a corrector may do to a real answer that nobody has damaged.

`damage.py` puts in what is to be taken out, and no policy writes that. Here the draft is the good answer itself, and
the target is the same in fewer or in plainer words. Each is a pure function of text, and gives None where it finds too
little to do. English only; what holds code or a table is left alone.
"""

import re
from collections.abc import Callable, Mapping
from functools import partial

from train.damage import pieces

_STRUCTURED = re.compile(r"```|^\s*\||</?[a-z]", re.MULTILINE)
_OPENS = re.compile(
    r"\A(?:Sure|Certainly|Absolutely|Of course|Great question|Good question|Thank you for asking|Thanks for asking)\b"
    r"[^.!?:,\n]*[.!]\s+(?=\S)"
)
_CLOSES = re.compile(
    r"(?:I hope (?:this|that|these)|(?:please )?(?:let me know|feel free|don't hesitate)|is there anything else"
    r"|good luck|if you have any (?:other |more |further )?questions|overall|in conclusion|in summary"
    r"|to summari[sz]e|to sum up|in short|ultimately|all in all)\b",
    re.IGNORECASE,
)
# "- **Name**: what it is. What else there is to say of it."
_MORE_OF_AN_ITEM = re.compile(
    r"(?m)^([ \t]*(?:[-*•]|\d+[.)])[ \t]+(?:\*\*)?[^.:!?\n]{2,40}:(?:\*\*)? .{12,}?[^\d\W][.!?])[ \t]+[A-Z].*$"
)
_LEADS = re.compile(
    r"(?:\b(?:it is|it's|it’s) (?:also )?(?:important|worth|essential|crucial|good|interesting) (?:to note|noting"
    r"|to remember|remembering|to mention|mentioning|to keep in mind)"
    r"|\b(?:please |also )?(?:note|remember|keep in mind)) that ([a-z])",
    re.IGNORECASE,
)
_ASIDE = re.compile(r" \([^()\n]*[a-z]{3,} [^()\n]*\)")
_EXAMPLES = re.compile(
    r",? (?:such as|including) [\w'’ -]{2,40}(?:, [\w'’ -]{2,40})*,? (?:and|or) [\w'’ -]{2,40}(?=[.;]\s|[.;]\Z)"
)
_EMPTY = re.compile(
    r"\b(?:(an?) )?(?:very|really|quite|extremely|actually|basically|simply|essentially|particularly|incredibly"
    r"|truly|absolutely|generally|typically|usually|certainly|definitely) ([a-z])"
)
_SHORTER = {
    "in order to": "to", "due to the fact that": "because", "a wide range of": "many", "a wide variety of": "many",
    "a variety of": "many", "a large number of": "many", "a number of": "some", "has the ability to": "can",
    "have the ability to": "can", "is able to": "can", "are able to": "can", "as well as": "and",
    "in addition to": "besides", "each and every": "every", "at this point in time": "now", "in the event that": "if",
    "for the purpose of": "for", "with regard to": "about", "on a regular basis": "regularly",
    "a great deal of": "much", "the majority of": "most", "make sure that": "ensure", "whether or not": "whether",
    "in the form of": "as", "in terms of": "in", "a lot of": "much", "additionally": "also", "furthermore": "also",
}  # fmt: skip
_PLAINER = {
    "approximately": "about", "numerous": "many", "assist": "help", "assists": "helps", "assistance": "help",
    "to purchase": "to buy", "purchasing": "buying", "purchased": "bought", "require": "need", "requires": "needs",
    "required": "needed", "requiring": "needing", "requirements": "needs", "sufficient": "enough",
    "demonstrate": "show", "demonstrates": "shows", "prior to": "before", "individuals": "people",
    "ensure": "make sure", "ensures": "makes sure", "ensuring": "making sure", "regarding": "about",
    "concerning": "about", "with respect to": "about", "furthermore": "also", "moreover": "also", "consequently": "so",
    "therefore": "so", "as a result of": "because of", "due to the fact that": "because", "due to": "because of",
    "in addition to": "besides", "in addition": "also", "in order to": "to", "such as": "like",
    "the majority of": "most", "implement": "carry out", "implementing": "carrying out", "additional": "extra",
    "modify": "change", "modifying": "changing", "provide you with": "give you", "provide me with": "give me",
    "provide us with": "give us", "provide them with": "give them", "providing you with": "giving you",
    "provide": "give", "provides": "gives", "providing": "giving", "provided by": "given by", "maintain": "keep",
    "maintaining": "keeping", "maintains": "keeps", "retain": "keep", "retaining": "keeping", "obtain": "get",
    "obtaining": "getting", "receive": "get", "receives": "gets", "receiving": "getting", "select": "choose",
    "selecting": "choosing", "selected": "chosen", "remain": "stay", "remains": "stays", "create": "make",
    "creates": "makes", "creating": "making", "created": "made", "construct": "build", "constructing": "building",
    "constructed": "built", "significant": "big", "significantly": "greatly", "primary": "main", "primarily": "mainly",
    "crucial": "key", "entire": "whole", "initial": "first", "initially": "at first", "eventually": "in the end",
    "currently": "now", "commonly": "often", "frequently": "often", "occasionally": "at times",
    "immediately": "at once", "rapidly": "fast", "rapid": "fast", "previously": "before", "subsequently": "later",
    "attempt": "try", "attempting": "trying", "attempted": "tried", "comprehend": "grasp", "difficult": "hard",
    "difficulties": "troubles", "opportunity": "chance", "opportunities": "chances", "possibility": "chance",
    "quantity": "amount", "location": "place", "locations": "places", "physician": "doctor", "residence": "home",
    "beverage": "drink", "beverages": "drinks", "nevertheless": "still", "although": "though", "possess": "have",
    "possesses": "has", "participate": "take part", "participating": "taking part", "various": "many",
    "several": "some", "establish": "set up", "establishing": "setting up", "discover": "find", "identify": "find",
    "identifying": "finding", "determine": "find out", "determining": "finding out", "achieve": "reach",
    "achieving": "reaching", "accomplish": "do", "challenging": "hard", "incorporate": "add", "incorporating": "adding",
    "component": "part", "components": "parts", "enhance": "improve", "enhancing": "improving", "enhances": "improves",
    "advantageous": "useful", "beneficial": "good", "appropriate": "right", "techniques": "ways", "methods": "ways",
    "suggestions": "tips", "engaging in": "doing", "engage in": "do", "contribute to": "help",
    "contributes to": "helps", "respond to": "answer", "responding to": "answering", "occur": "happen",
    "occurs": "happens", "occurred": "happened", "contains": "holds", "completely": "fully", "large": "big",
    "larger": "bigger", "largest": "biggest", "allows you to": "lets you", "allow you to": "let you",
    "allows them to": "lets them", "enables you to": "lets you", "enable you to": "let you", "begin": "start",
    "begins": "starts", "reside": "live", "resides": "lives", "educate": "teach", "educating": "teaching",
    "repair": "fix", "repairing": "fixing", "is located in": "is in", "are located in": "are in",
}  # fmt: skip
_SUBJECT = r"(?:it|they|you|this|these|we|he|she|there|that|those)"
_NOUN = r"(?:the|a|an|your|our|their|its|his|her|some|many|most)"  # after a comma maybe the last one of a list
_BORDER = re.compile(
    r"(?<=[a-z)]{3})(?:; (?:and )?|, (?:and|(but|so)) )"
    rf"(?=(?:{_SUBJECT}|{_NOUN}) [a-z]+ [^.!?;\n]{{12,}}[.!?;])([a-z])"
)
# ", which is so" and ", making it so" go on about all that was said before: this is so, this makes it so.
_WHICH = re.compile(
    r"(?<=[a-z)]{3}), which (is|was|can|could|may|might|will|would|means|makes|helps|allows|has|gives|are|were|have)"
    r"(?= [^.!?;\n,]{12,}[.!?])"
)
_DOING = {
    "making": "makes", "allowing": "allows", "helping": "helps", "giving": "gives", "leading to": "leads to",
    "resulting in": "results in", "causing": "causes", "showing": "shows", "letting": "lets", "reducing": "cuts",
    "making sure": "makes sure",
}  # fmt: skip
_MAKING = re.compile(rf"(?<=[a-z)]{{3}}), ({'|'.join(_DOING)})(?= [^.!?;\n,]{{12,}}[.!?])")
_HOWEVER = re.compile(r"(?:(?<=[a-z)]{3}); however|(?<![^.!?\n ])\bHowever), ([a-z])")
_LONG = 6  # words before a border that is worth a full stop
_SWAPS = 3  # of words, that make an answer without a cut plainer
_SAID, _WORDS = 0.55, 3  # the share of a sentence's words, of so many or more, that have been said before: it can go


def tightened(text: str) -> str | None:
    """The same in fewer words: no phrase to open or close with, no summary, aside or example, no empty word."""
    if _STRUCTURED.search(text):
        return None
    said = _OPENS.sub("", text.strip())
    said = _open_ended(pieces(_open_ended(said.splitlines(keepends=True))))
    said = _nothing_twice(said)
    said = _EXAMPLES.sub("", _ASIDE.sub("", _MORE_OF_AN_ITEM.sub(r"\1", said)))
    said = _LEADS.sub(lambda match: match[1].upper() if match[0][0].isupper() else match[1], said)
    said = _EMPTY.sub(lambda match: (f"{_article(match[2])} " if match[1] else "") + match[2], said)
    said, _ = _swapped(said, _SHORTER)
    return said if 20 < len(said) <= 0.96 * len(text) else None


def _open_ended(parts: list[str]) -> str:
    """Lines or sentences without those at the end that only close or sum up."""
    while len(parts) > 1 and (_CLOSES.match(parts[-1]) or not parts[-1].strip()):
        parts = parts[:-1]
    return "".join(parts).rstrip()


def _nothing_twice(text: str) -> str:
    """Without the sentences whose words have nearly all been said before; the first of a line stays."""
    known: set[str] = set()
    kept = ""
    for piece in pieces(text):
        words = {word.casefold()[:6] for word in re.findall(r"[^\W\d_]{4,}", piece)}
        within = kept and not kept.endswith("\n") and not piece.rstrip().endswith(":")
        if within and len(words) >= _WORDS and len(words & known) >= _SAID * len(words):
            kept = kept.rstrip() + piece[len(piece.rstrip()) :]
        else:
            kept += piece
        known |= words
    return kept.rstrip()


def plainer(text: str) -> str | None:
    """Long sentences cut where a clause ends, and everyday words in place of long ones: a cut, or three of these."""
    if _STRUCTURED.search(text):
        return None
    said, swaps = _swapped(text.strip(), _PLAINER)
    for border, cut in (_BORDER, _next), (_WHICH, _this), (_MAKING, _makes):
        said = border.sub(partial(_cut, cut), said)
    said = _HOWEVER.sub(lambda match: f"{'. ' if match[0][0] == ';' else ''}But {match[1]}", said)
    return said if swaps >= _SWAPS or said.count(". ") > text.count(". ") else None


def _cut(cut: Callable[[re.Match[str]], str], border: re.Match[str]) -> str:
    """Where enough stands before, and it is not the last one of a list."""
    before = re.split(r"[.!?:\n]\s*", border.string[: border.start()])[-1]
    listed = "," in before and re.match(_NOUN + r"\b", border.string[border.end() - 1 :])
    return border[0] if len(before.split()) < _LONG or listed else cut(border)


def _next(border: re.Match[str]) -> str:
    return f". {border[1].capitalize()} {border[2]}" if border[1] else f". {border[2].upper()}"


def _this(border: re.Match[str]) -> str:
    return f". {'These' if border[1] in ('are', 'were', 'have') else 'This'} {border[1]}"


def _makes(border: re.Match[str]) -> str:
    return f". This {_DOING[border[1]]}"


def _swapped(text: str, words: Mapping[str, str]) -> tuple[str, int]:
    """Whole words for others, with their capital and their article; and how many."""

    def other(match: re.Match[str]) -> str:
        new = words[match[2].lower()]
        if match[2][0].isupper():
            new = new[0].upper() + new[1:]
        return f"{match[1][0]}{_article(new)[1:]} {new}" if match[1] else new

    known = "|".join(sorted(map(re.escape, words), key=len, reverse=True))
    return re.subn(rf"(?<![-\w])(?:(an?) )?({known})\b(?![-'’])", other, text, flags=re.IGNORECASE)


def _article(word: str) -> str:
    return "an" if word[0] in "aeioAEIO" else "a"


# The objectives that each of them serves: its own first.
KINDS: Mapping[str, tuple[Callable[[str], str | None], tuple[str, ...]]] = {
    "tightened": (tightened, ("length",)),
    "plainer": (plainer, ("plain_words", "clarity")),
}
