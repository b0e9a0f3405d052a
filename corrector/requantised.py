"""A GGUF file's weights stored anew in the form that llama.cpp multiplies fastest: 8 bits, in blocks of 32 (Q8_0).

Most forms save memory, and are unpacked at each use; a prompt is read two to three times as fast from this one. From
a smaller form nothing is lost but a rounding to 8 bits.
"""

import os
import tempfile
from pathlib import Path
from typing import Any

FOLDER = "metaaligner"


def requantised(source: Path, fallback: Path) -> Path:
    """The file in the user's cache, made if it is not there; in `fallback`, where the cache cannot be written."""
    status = source.stat()
    name = f"{source.stem}.{status.st_size}-{int(status.st_mtime)}.Q8_0.gguf"
    for folder in (_cache(), fallback):
        if (folder / name).is_file():
            return folder / name
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.NamedTemporaryFile(dir=folder, suffix=".gguf", delete=False) as file:
                made = Path(file.name)
        except OSError:
            continue
        try:
            _store(source, made)
            made.replace(folder / name)  # whole or not at all, also for another engine that does the same
        finally:
            made.unlink(missing_ok=True)
        return folder / name
    raise OSError(f"no folder to keep {name} in: neither {_cache()} nor {fallback}")


def _cache() -> Path:
    home = os.environ.get("XDG_CACHE_HOME")
    return (Path(home) if home else Path("~/.cache").expanduser()) / FOLDER


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
