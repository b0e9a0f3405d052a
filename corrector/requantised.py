"""A GGUF file's weights stored anew in the form that llama.cpp multiplies fastest: 8 bits, in blocks of 32 (Q8_0).

Most forms save memory, and are unpacked at each use; a prompt is read two to three times as fast from this one. From
a smaller form nothing is lost but a rounding to 8 bits.
"""

import contextlib
import fcntl
import hashlib
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

FOLDER = "metaaligner"
ENDS = 1 << 20  # bytes of a file's head and tail that tell it from every other
ABANDONED_S = 3600.0  # where a file system has no locks, who has not written for so long is taken for dead


def requantised(source: Path, fallback: Path) -> Path:
    """The file in the user's cache, made if it is not there; in `fallback`, where the cache cannot be written."""
    name = f"{source.stem}.{_digest(source)}.Q8_0.gguf"
    failures = []
    for folder in (*_cache(), fallback):
        made = folder / f"{name}.{os.getpid()}.part"
        try:
            if (folder / name).is_file():
                return folder / name
            folder.mkdir(parents=True, exist_ok=True)
            _sweep(folder)
            print(f"storing {source.name} as Q8_0", flush=True)
            with _at_work(made):
                _store(source, made)
                made.replace(folder / name)  # whole or not at all, also for another engine that does the same
        except OSError as error:
            failures.append(f"{folder}: {error.strerror or error}")
            with contextlib.suppress(OSError):
                made.unlink(missing_ok=True)
        else:
            return folder / name
    raise OSError(f"no folder to keep {name} in: {'; '.join(failures)}")


def _digest(source: Path) -> str:
    size = source.stat().st_size
    with source.open("rb") as file:
        told = hashlib.sha256(f"{size}:".encode() + file.read(ENDS))
        file.seek(max(0, size - ENDS))
        told.update(file.read())
    return told.hexdigest()[:16]


def _cache() -> list[Path]:
    if home := os.environ.get("XDG_CACHE_HOME"):
        return [Path(home) / FOLDER]
    try:
        return [Path.home() / ".cache" / FOLDER]
    except RuntimeError:  # nobody's
        return []


@contextlib.contextmanager
def _at_work(part: Path) -> Iterator[None]:
    """Holds a lock on the file, which is gone with this process, however it ends: its id may soon be another's."""
    with part.open("ab") as held:
        with contextlib.suppress(OSError):  # a file system without locks
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield


def _sweep(folder: Path) -> None:
    """What those who were killed have left half written."""
    for part in folder.glob("*.part"):
        with contextlib.suppress(OSError):
            if _abandoned(part):
                part.unlink()


def _abandoned(part: Path) -> bool:
    with part.open("ab") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        except OSError:
            return time.time() - os.fstat(file.fileno()).st_mtime > ABANDONED_S
    return True


def _store(source: Path, target: Path) -> None:
    import gguf
    import numpy as np

    plain, packed = gguf.GGMLQuantizationType.F32, gguf.GGMLQuantizationType.Q8_0
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, str(reader.fields["general.architecture"].contents()))
    for field in reader.fields.values():
        if not field.name.startswith("GGUF.") and field.name != "general.architecture":
            writer.add_key_value(field.name, *_value(field))
    for tensor in reader.tensors:
        if tensor.tensor_type in (plain, packed) or tensor.shape[0] % 32 or len(tensor.shape) < 2:
            writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
            continue
        weights = gguf.quants.dequantize(tensor.data, tensor.tensor_type).astype(np.float32)
        writer.add_tensor(tensor.name, gguf.quants.quantize(weights, packed), raw_dtype=packed)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _value(field: Any) -> tuple[Any, Any, Any]:
    """A field's value, its type, and of an array the type of what is in it."""
    import gguf

    if field.name == "general.file_type":
        return int(gguf.LlamaFileType.MOSTLY_Q8_0), field.types[0], None
    inner = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
    return field.contents(), field.types[0], inner
