"""How many shadow corrections an engine is given beside the live ones."""

from typing import Any

import pytest

from corrector import engines
from gateway.shadows import places

URLS = ["http://127.0.0.1:1/v1", "http://127.0.0.1:2/v1"]


@pytest.mark.parametrize(
    ("kind", "said", "many"),
    [
        ("llamacpp", {"parallel": 4}, 2),
        ("llamacpp", {"parallel": 1}, 1),
        ("transformers", {}, 8),
        ("vllm", {"options": {"max_num_seqs": 16}}, 8),
        ("vllm", {}, 32),
        ("endpoint", {"base_url": URLS[0]}, 4),
        ("endpoint", {"base_url": URLS}, 8),
        ("endpoint", {"base_url": URLS[0], "cache_salt": True}, 32),
    ],
)
def test_half_of_what_it_does_at_once(kind: str, said: dict[str, Any], many: int) -> None:
    model = "smollm2-135m-instruct" if kind == "llamacpp" else "m"
    assert places(engines.load(kind).Options.model_validate({"kind": kind, "model": model, **said})) == many
