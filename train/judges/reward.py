"""A reward model a objective, trained here on pairs that people ranked: hashed words and a few plain features, linear.

Bradley-Terry: a logistic regression, without intercept, on the difference of the two answers' features. Under the
same head, sentence embeddings (MiniLM) were no better within noise, nor were the embedded model's hidden states at
helpfulness (at harmlessness they were not tried).

Of harmlessness it is taught besides that a loop, a sentence said again and half a sentence at the end, taken out or
ended, are nothing to it: in HH-RLHF the less harmful answers break off more often, and without that it liked nothing
better.

It knows words, length and form, not meaning. What it has learnt of helpfulness is little but length: on held-out pairs
of about equal length it is at chance. What it has learnt of harmlessness is mostly rude words: of two civil answers it
knows less. Read the rate at equal length beside its own.
"""

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import numpy as np
from profanity_check import predict_prob
from scipy import sparse
from sklearn.feature_extraction.text import HashingVectorizer
from sklearn.linear_model import LogisticRegression

from corrector.templates import Turn
from train.controls import WITHOUT, twins
from train.harm import refuses
from train.judges import JudgeOptions, Question
from train.rows import DataError, Pair

OBJECTIVES = ("helpfulness", "harmlessness")
HASHES = 2**16
WORDS = HashingVectorizer(n_features=HASHES, ngram_range=(1, 2), alternate_sign=False, binary=True)
# What an objective should not mind, however people's answers to it happened to end (controls.py): so many made pairs of
# each kind, with the fault and without, and each as often better as worse.
INDIFFERENT = {
    "harmlessness": (
        "a sentence said again",
        "a loop",
        "half a sentence at the end",
        "a last sentence that breaks off, ended",
    )
}
INDIFFERENT_PAIRS = 500
INDIFFERENT_WEIGHT = 10.0
WITHIN = 0.9  # of these pairs: how many are to be ties
LEAST_MARGIN = 1e-3  # of log-odds: so little is a tie always
PLAIN_WEIGHT = 0.3  # plain features are few and strong: scaled down, they are regularised like words
REGULARISED = 3.0  # scikit-learn's C
_MARGIN = ":margin"
_WORD = re.compile(r"\w+")
_ITEM = re.compile(r"^\s*(?:[-*•]|\d+[.)])", re.MULTILINE)
_SENTENCE_END = re.compile(r"[.!?](?:\s|$)")
_UNSURE = re.compile(r"\b(?:don['’]?t know|not sure|no idea)\b")


class Options(JudgeOptions):
    kind: Literal["reward"]
    path: Path


def build(options: Options) -> "RewardJudge":
    """A fitted one. Raises `DataError` for a file that `save` did not write."""
    return read(options.path)


class RewardJudge:
    """By objective: a weight for each hash of words, and for each plain feature; and how little difference is a tie."""

    def __init__(self, weights: Mapping[str, Any], margins: Mapping[str, float]) -> None:
        self.name = "reward"
        self._weights = dict(weights)
        self._margins = dict(margins)

    def decides(self, objective: str) -> bool:
        return objective in self._weights

    async def compare(self, question: Question) -> int:
        first, second = self.scores(question.context, (question.first, question.second), question.objective.key)
        margin = self._margins[question.objective.key]
        return int(second > first) - int(second < first) if abs(second - first) > margin else 0

    def remarks(self) -> str:
        return ""

    async def aclose(self) -> None:
        return None

    def scores(self, context: Sequence[Turn], answers: Sequence[str], objective: str) -> list[float]:
        """Of each answer: log-odds, of use only against each other."""
        found = features([context] * len(answers), answers)
        return [float(score) for score in found @ self._weights[objective]]

    def save(self, path: Path) -> None:
        with path.open("wb") as file:  # a name without .npz is kept
            margins = {f"{name}{_MARGIN}": np.array(margin) for name, margin in self._margins.items()}
            np.savez_compressed(file, **self._weights, **margins)


def read(path: Path) -> RewardJudge:
    try:
        with np.load(path, allow_pickle=False) as stored:
            weights = {name: stored[name] for name in stored.files if not name.endswith(_MARGIN)}
            margins = {name: float(stored[f"{name}{_MARGIN}"]) for name in weights}
    except (OSError, ValueError, AttributeError, KeyError) as error:
        raise DataError(f"{path}: not a fitted reward model: {error}") from None
    return RewardJudge(weights, margins)


def fit(pairs: Iterable[Pair], seed: int = 1) -> RewardJudge:
    """One model for each objective that at least ten pairs are about. Deterministic by seed."""
    given = list(pairs)
    weights, margins = {}, {}
    for objective in OBJECTIVES:
        about = [pair for pair in given if len(set(pair.scores.get(objective, (0.0, 0.0)))) == 2]
        if len(about) >= 10:
            weights[objective], margins[objective] = _fit_one(about, objective, seed)
    if not weights:
        raise DataError(f"no ten pairs are about any of {', '.join(OBJECTIVES)}")
    return RewardJudge(weights, margins)


def features(contexts: Sequence[Sequence[Turn]], answers: Sequence[str]) -> Any:
    """A sparse row an answer: hashed words and pairs of words, then plain features."""
    rude = predict_prob(list(answers))
    plain = [[*_plain(context, text), bad] for context, text, bad in zip(contexts, answers, rude, strict=True)]
    return sparse.hstack([WORDS.transform(answers), sparse.csr_matrix(np.array(plain))]).tocsr()


def _plain(context: Sequence[Turn], answer: str) -> list[float]:
    """Length, form, and what answer and question share; refusing; being unsure."""
    asked = set(_WORD.findall(context[-1].text.lower())) if context else set()
    words = _WORD.findall(answer.lower())
    distinct, n = set(words), len(words) + 1
    return [
        float(np.log(n)),
        float(refuses(answer)),
        answer.count("?") / (1 + n / 10),
        float(answer.rstrip().endswith("?")),
        len(asked & distinct) / (1 + len(distinct)),
        len(asked & distinct) / (1 + len(asked)),
        len(distinct) / n,
        float(_ITEM.search(answer) is not None),
        float(np.log1p(len(_SENTENCE_END.findall(answer)))),
        float(n < 5),
        sum(word in ("you", "your") for word in words) / n,
        sum(word in ("i", "im", "my") for word in words) / n,
        float(answer.rstrip()[-1:] in (".", "!", "?", ":", ")", '"')),
        float(_UNSURE.search(answer.lower()) is not None),
        sum(map(len, words)) / n,
    ]


def _fit_one(pairs: Sequence[Pair], objective: str, seed: int) -> tuple[Any, float]:
    """Weights, and the margin of a tie: most of the pairs that it should not mind lie within."""
    difference = _differences((pair.context, pair.first, pair.second) for pair in pairs)
    wins = np.array([1.0 if pair.scores[objective][1] > pair.scores[objective][0] else -1.0 for pair in pairs])
    difference = sparse.diags_array(wins) @ difference  # now the better answer always comes second
    scale = np.ones(difference.shape[1])
    plain = difference[:, HASHES:].toarray()
    scale[HASHES:] = PLAIN_WEIGHT / np.maximum(plain.std(axis=0), 1e-6)
    scale[HASHES:][np.abs(plain).max(axis=0) < 1e-9] = 0.0  # a feature that never differs says nothing
    # A regression needs both outcomes: by chance, half of the pairs are turned round.
    sign = np.random.default_rng(seed).permutation(np.resize([1.0, -1.0], len(pairs)))
    rows, better, weight = [sparse.diags_array(sign) @ difference], [sign > 0], [np.ones(len(pairs))]
    kinds = INDIFFERENT.get(objective, ())

    def twins_of(some: Sequence[Pair]) -> list[tuple[Sequence[Turn], str, str]]:
        return [twin for kind in kinds for twin in twins(some, WITHOUT[kind], INDIFFERENT_PAIRS, seed)]

    # From every other pair it learns what not to mind; how little of a difference is a tie, the rest says.
    alike, unseen = twins_of(pairs[::2]), twins_of(pairs[1::2])
    if alike:
        same = _differences(alike)
        rows += [same, same]
        better += [np.ones(len(alike), bool), np.zeros(len(alike), bool)]
        weight += [np.full(len(alike), INDIFFERENT_WEIGHT)] * 2
    model = LogisticRegression(C=REGULARISED, fit_intercept=False, max_iter=500, random_state=seed)
    scaled = (sparse.vstack(rows) @ sparse.diags_array(scale)).tocsr()
    model.fit(scaled, np.concatenate(better), sample_weight=np.concatenate(weight))
    weights = (model.coef_[0] * scale).astype(np.float32)
    margin = float(np.quantile(np.abs(_differences(unseen) @ weights), WITHIN)) if unseen else 0.0
    return weights, max(margin, LEAST_MARGIN)


def _differences(given: Iterable[tuple[Sequence[Turn], str, str]]) -> Any:
    """Features of the second answer less those of the first, a row each."""
    contexts, first, second = zip(*given, strict=True)
    return (features(contexts, second) - features(contexts, first)).tocsr()
