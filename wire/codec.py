"""JSON as bytes, lossless for what clients send: big integers, lone surrogates, key order."""

import json
import re
from typing import Any, NoReturn

_CONSTANT = re.compile(r'"(?:[^"\\]|\\.)*"|(NaN|-?Infinity)')  # or a string, in which it would be text


def loads(raw: bytes | str) -> Any:
    """Parse JSON text. Raises `ValueError` (with the position) also for NaN, Infinity and absurd depth."""
    try:
        return json.loads(raw, parse_constant=_refuse)
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start}") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except _NoNumber as error:
        text = raw if isinstance(raw, str) else raw.decode()
        place = next(match.start(1) for match in _CONSTANT.finditer(text) if match[1])
        raise ValueError(f"{error} is not JSON: char {place}") from None


def dumps(value: Any) -> bytes:
    """Compact UTF-8 JSON. Lone surrogates, which UTF-8 cannot carry, keep their escapes."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    try:
        return text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()


def _refuse(name: str) -> NoReturn:
    raise _NoNumber(name)


class _NoNumber(Exception):
    """Python's own JSON takes NaN and Infinity, and does not say where they stand."""
