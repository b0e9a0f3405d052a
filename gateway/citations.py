"""`annotations` beside a text that was corrected: what they cite stands elsewhere in it, or no more. Pure."""

from collections.abc import Iterable
from typing import Any

Json = dict[str, Any]


def moved(annotations: Iterable[Any], before: str, after: str) -> list[Any]:
    """The annotations of `before`, with their places in `after`; those of what is gone are left out.

    OpenAI's `url_citation` has `start_index` and `end_index`, in characters; what has no such places stays as it is.
    """
    return [there for one in annotations if (there := _moved(one, before, after)) is not None]


def _moved(annotation: Any, before: str, after: str) -> Any:
    cited = annotation.get("url_citation") if isinstance(annotation, dict) else None
    if not isinstance(cited, dict):
        return annotation
    start, end = cited.get("start_index"), cited.get("end_index")
    if not isinstance(start, int) or not isinstance(end, int) or not 0 <= start < end <= len(before):
        return annotation
    for words in (before[start:end], str(cited.get("url") or "")):
        if words and (place := _nearest(after, words, start)) is not None:
            return {**annotation, "url_citation": {**cited, "start_index": place, "end_index": place + len(words)}}
    return None


def _nearest(text: str, words: str, place: int) -> int | None:
    """Where the words stand, if so: as near to the place as they do."""
    behind, ahead = text.rfind(words, 0, place + len(words)), text.find(words, place)
    found = [at for at in (behind, ahead) if at >= 0]
    return min(found, key=lambda at: abs(at - place), default=None)
