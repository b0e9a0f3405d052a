"""JSON as bytes, lossless for what clients send: big integers, lone surrogates, key order."""

import json
import re
from typing import Any, NoReturn

# What Python's own JSON takes or chokes on without saying where; or a string, in which it would be text.
_NO_NUMBER = re.compile(r'"[^"\\]*(?:\\.[^"\\]*)*"|(NaN|-?Infinity|[0-9]{4301,})')


def loads(raw: bytes | str) -> Any:
    """Parse JSON text. Raises `ValueError` (with the position) also for NaN, Infinity and absurd depth."""
    try:
        text = raw if isinstance(raw, str) else raw.decode(json.detect_encoding(raw), "surrogatepass")
        return _DECODER.decode(text)
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start}") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None
    except json.JSONDecodeError:
        raise
    except ValueError:
        found = next(match for match in _NO_NUMBER.finditer(text) if match[1])
        what = "a number of over 4300 digits" if found[1][0].isdigit() else found[1]
        raise ValueError(f"{what} is not JSON: char {found.start(1)}") from None


def dumps(value: Any) -> bytes:
    """Compact UTF-8 JSON. Lone surrogates, which UTF-8 cannot carry, keep their escapes."""
    text = _ENCODER.encode(value)
    try:
        return text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()


def _refuse(name: str) -> NoReturn:
    raise ValueError(name)


# Made once: `json.loads` and `json.dumps` with options make theirs anew at every call.
_DECODER = json.JSONDecoder(parse_constant=_refuse)
_ENCODER = json.JSONEncoder(ensure_ascii=False, separators=(",", ":"))
