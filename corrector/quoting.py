"""Text that imitates a prompt's structure reaches the corrector as text, and comes back as it was.

`| Edit:` or `<|im_start|>` in an answer would otherwise end the answer for the corrector. In the draft
such text is a protected span (`pattern` goes to `protect.mask`). In what is only read, an invisible
joiner is put inside it: one that no text holds, so taking it out again gives the text as it was.
"""

import re
from collections.abc import Iterable

_JOINERS = ("\u2060", "\u200b", "\u200d", "\ufeff", "\u2063")
# Special tokens of the model families in use: ChatML, Llama 2 and 3, Gemma, Mistral, GPT-2, DeepSeek, and what SmolLM2
# has from StarCoder. Listed: an answer with a `<your_name>` to fill in leaks nothing.
_SPECIAL = (
    r"<\|[^|<>\n]{1,40}\|>|<｜[^<>\n]{1,40}｜>|</?s>|<(?:bos|eos|pad|unk|mask)>"
    r"|\[/?(?:INST|TOOL_CALLS|TOOL_RESULTS|AVAILABLE_TOOLS|SYSTEM_PROMPT)\]|<</?SYS>>|</?(?:start|end)_of_[a-z]{1,20}>"
    r"|</?think>|<(?:file_?sep|file_?name|repo_?name|gh_stars|empty_output|(?:issue|jupyter|commit|fim)_[a-z]{1,20})>"
)
_HALF = r"[\ud800-\udfff]"  # of a surrogate pair: no text for an engine
_HALVES = re.compile(_HALF)
# At the start of a line these are the turns of a transcript (`templates.transcript`), in every family.
_TURN = r"(?<![^\n\r\x0b\x0c\x85\u2028\u2029])[ \t]*(?:Human|Assistant)[ \t]*:"


class Quoting:
    """Quotes for one prompt family; `delimiters` are the strings that structure its prompt."""

    def __init__(self, delimiters: Iterable[str]) -> None:
        # White space is free: a model takes `|Edit :` for `| Edit:` too.
        own = [r"\s*".join(re.escape(part) for part in re.findall(r"\w+|[^\w\s]", text)) for text in delimiters]
        self.pattern = f"(?i:{'|'.join([*own, _SPECIAL, _HALF, _TURN])})"
        self._compiled = re.compile(self.pattern)

    def joiner(self, *texts: str) -> str:
        """A joiner that stands in none of the texts."""
        return next((mark for mark in _JOINERS if not any(mark in text for text in texts)), "")

    def quote(self, text: str, joiner: str) -> str:
        """Breaks every imitation up; where no joiner is free, with a dot, which `replace` cannot take out again.

        White space would not do: a delimiter with space in it is one. Halves of surrogate pairs are joined or replaced.
        """
        if _HALVES.search(text):
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
        return self._compiled.sub(lambda match: re.sub(r"(?<=\S)", joiner or "\u00b7", match.group(), count=1), text)

    def imitates(self, text: str, start: int = 0) -> str | None:
        """The first imitation of structure that begins at `start` or later, if any."""
        match = self._compiled.search(text, start)
        return match.group().lstrip() if match else None
