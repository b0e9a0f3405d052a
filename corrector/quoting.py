"""Text that imitates a prompt's structure is made text again: an invisible joiner is put inside it.

`| Edit:` or `<|im_start|>` in an answer would otherwise end the answer for the corrector. The joiner
is one that the text does not hold, so taking it out again gives the text as it was.
"""

import re
from collections.abc import Iterable

_JOINERS = ("\u2060", "\u200b", "\u200d", "\ufeff", "\u2063")
# Special tokens of the model families in use: ChatML, Llama 2 and 3, Gemma, Mistral, GPT-2, DeepSeek, SmolLM2 (whose
# `<file_sep>`, `<empty_output>` and `<repo_name>` are of a form that others share); and the turns of a transcript.
_SPECIAL = (
    r"<\|[^|<>\n]{1,40}\|>|<｜[^<>\n]{1,40}｜>|</?s>|<(?:bos|eos|pad|unk|mask|filename|reponame)>"
    r"|\[/?INST\]|<</?SYS>>|</?[a-z]+(?:_[a-z]+){1,4}>"
    r"|(?<![^\n])(?:Human|Assistant)[ \t]*:"
)


class Quoting:
    """Quotes for one prompt family; `delimiters` are the strings that structure its prompt."""

    def __init__(self, delimiters: Iterable[str]) -> None:
        # White space is free: a model takes `|Edit :` for `| Edit:` too.
        own = [r"\s*".join(re.escape(part) for part in re.findall(r"\w+|[^\w\s]", text)) for text in delimiters]
        self._pattern = re.compile("|".join([*own, _SPECIAL]), re.IGNORECASE)

    def joiner(self, *texts: str) -> str:
        """A joiner that stands in none of the texts."""
        return next((mark for mark in _JOINERS if not any(mark in text for text in texts)), "")

    def quote(self, text: str, joiner: str) -> str:
        """Breaks every imitation up; with a space where no joiner is free, which `replace` cannot take out again."""
        mark = joiner or " "
        return self._pattern.sub(lambda match: match.group()[0] + mark + match.group()[1:], text)

    def imitations(self, text: str) -> list[str]:
        """Every imitation of structure in the text."""
        return [match.group() for match in self._pattern.finditer(text)]

    def imitates(self, text: str) -> str | None:
        """The first imitation of structure in the text, if any."""
        match = self._pattern.search(text)
        return match.group() if match else None
