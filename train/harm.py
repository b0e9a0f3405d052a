"""Drafts that go along with a harmful request, and what is to stand in their place: a short refusal, and a safe way.

Also the other way round: a refusal where nothing harmful was asked is to become the answer. Every
refusal here was written for this project (`refusals.yaml`); no model's words are learnt.
"""

import hashlib
import random
import re
from collections.abc import Mapping, Sequence
from itertools import count
from pathlib import Path
from typing import Any

import yaml

from train.rows import HARMFUL, HARMLESS, Pair

READ = Path(__file__).with_name("read.yaml")
_REFUSES = re.compile(
    r"\b(?:sorry|can'?t|cannot|can not|won'?t|shouldn'?t|not (?:okay|ok|appropriate|able|going to)|illegal|dangerous"
    r"|against the law|unethical|harmful|please don'?t|bad idea)\b",
    re.IGNORECASE,
)
_DECLINES = re.compile(
    r"\A\W*(?:(?:no|well|oh|hmm)\W+)?(?!(?:i'?m |i am )?(?:really |very |so )?sorry (?:to hear|for|about|you|that you))"
    r"(?:i(?:'m| am)?\s+(?:really |very |so )?(?:sorry|afraid|can'?t|cannot|won'?t"
    r"|not able|unable|not going to|wouldn'?t|don'?t (?:think|want|feel))|sorry|please don'?t|you shouldn'?t)\b",
    re.IGNORECASE,
)
_UNSURE = re.compile(r"\?\s*\Z|\b(?:understand|what you mean|don't know|don't have|have no|didn't|wasn't)\b")


def topics_read(path: Path = READ) -> dict[str, str]:
    """By `digest` of a question: the harmful topic, or `harmless`, that somebody who has read it found it to be of."""
    told = yaml.safe_load(path.read_text(encoding="utf-8"))
    topics = {known: topic for topic in told["harmful"] for known in told["harmful"][topic]}
    return topics | dict.fromkeys(told[HARMLESS], HARMLESS)


def requested(dataset: str) -> str | None:
    """The topic, or `harmless`, of what `answers.py` has taken from requests, as its data set says."""
    _, of_request, topic = dataset.partition("requests:")
    return topic if of_request else None


def digest(query: str) -> str:
    """What `read.yaml` knows a question by, whose text it is not to have."""
    return hashlib.sha256(query.encode()).hexdigest()[:10]


def declines(text: str) -> bool:
    """Does the answer begin by declining? Surer than `refuses`, and misses more."""
    return _DECLINES.match(text.replace("’", "'")) is not None


def only_declines(text: str) -> bool:
    """And does nothing else: a long one may go along in the end, and one that asks back has not understood."""
    return declines(text) and len(text) <= 120 and not _UNSURE.search(text.replace("’", "'"))


def refuses(text: str) -> bool:
    """Does the answer decline, or warn? By its words: a sign, not a proof."""
    return _REFUSES.search(text.replace("’", "'")) is not None


class Refusals:
    """Refusals by topic, in many wordings."""

    def __init__(self) -> None:
        told: Mapping[str, Any] = yaml.safe_load(Path(__file__).with_name("refusals.yaml").read_text(encoding="utf-8"))
        self._openings: Sequence[str] = told["openings"]
        self._topics: Mapping[str, Mapping[str, Sequence[str]]] = told["topics"]
        own = (opening for topic in self._topics.values() for opening in topic.get("openings", ()))
        self._written = [
            re.compile(re.escape(opening).replace(r"\{it\}", ".{3,80}?"), re.IGNORECASE)
            for opening in (*self._openings, *own)
        ]

    def topic(self, query: str) -> str:
        """The topic whose words make up most of the query, or `other`."""
        found = {
            name: sum(len(w) for w in topic["words"] if re.search(rf"\b{re.escape(w)}", query, re.IGNORECASE))
            for name, topic in self._topics.items()
        }
        best = max(found, key=lambda name: found[name])
        return best if found[best] else "other"

    def sounds_harmful(self, pair: Pair) -> bool:
        return bool(pair.context) and self.topic(pair.context[-1].text) != "other"

    def draw(self, query: str, rng: random.Random, of: str | None = None) -> str:
        """`of`: the topic, where it is known. Else the words of the query tell."""
        topic = self._topics[of or self.topic(query)]
        said = rng.choice(topic.get("openings", self._openings)).format(it=rng.choice(topic["it"]))
        return f"{said[0].upper()}{said[1:]} {rng.choice(topic['instead'])}"

    def refused(self, text: str) -> bool:
        """Does the answer decline, in its own words or in one of these?"""
        return declines(text) or any(opening.match(text) for opening in self._written)

    def golden(self, query: str, topic: str) -> str:
        """One for a question that somebody has read: always the same, and one that `declines`."""
        rng = random.Random(query)  # noqa: S311 - a choice of wording, not a secret
        drawn = (self.draw(query, rng, topic) for _ in count())
        return next(refusal for refusal in drawn if declines(refusal))

    def opening(self, rng: random.Random) -> str:
        """A refusal that says of nothing in particular why."""
        said = rng.choice(self._openings).format(it=rng.choice(self._topics["other"]["it"]))
        return f"{said[0].upper()}{said[1:]}"


def goes_along(pair: Pair, refusals: Refusals) -> bool:
    """The worse answer complies with what is harmful.

    Somebody has read the question; or the better answer declines, and the question has words of a harmful topic. Of
    these two signs either alone misleads: answers decline as well what they have not understood or do not know. A
    sentence that answers nothing, as of ParaDetox, is to be reworded, never refused.
    """
    if pair.declines:
        return False
    if read_as(pair):
        return True
    worse, better = pair.scores.get("harmlessness", (0.0, 0.0))
    if better <= worse or len(pair.first) <= 30 or refuses(pair.first):
        return False
    unsure = _UNSURE.search(pair.second.replace("’", "'"))
    return not unsure and declines(pair.second) and refusals.sounds_harmful(pair)


def read_as(pair: Pair) -> str | None:
    """The harmful topic that somebody who has read the question found it to be of."""
    return pair.asks if pair.asks not in ("", HARMLESS, HARMFUL) else None


def answers_well(pair: Pair) -> bool:
    """A helpful answer to a harmless question, such as a needless refusal is to become."""
    worse, better = pair.scores.get("helpfulness", (0.0, 0.0))
    return better > worse and not refuses(pair.second) and 60 <= len(pair.second) <= 400
