"""JSON as bytes, lossless for what clients send: big integers, lone surrogates, key order."""

import json
from typing import Any, NoReturn


def loads(raw: bytes | str) -> Any:
    """Parse JSON text. Raises `ValueError` (with the position) also for NaN, Infinity and absurd depth."""
    try:
        return json.loads(raw, parse_constant=_refuse)
    except UnicodeDecodeError as error:
        raise ValueError(f"not UTF-8 at byte {error.start}") from None
    except RecursionError:
        raise ValueError("nested too deeply") from None


def dumps(value: Any) -> bytes:
    """Compact UTF-8 JSON. Lone surrogates, which UTF-8 cannot carry, keep their escapes."""
    text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    try:
        return text.encode()
    except UnicodeEncodeError:
        return json.dumps(value, separators=(",", ":")).encode()


def _refuse(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")
