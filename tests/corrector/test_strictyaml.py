"""A base URL is one that requests can be sent to, and what else was written there is not told."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from corrector.engines.endpoint import Options
from corrector.strictyaml import ConfigError, Source

SECRET = "s3cret"


def refusal(folder: Path, url: str) -> str:
    file = folder / "engine.yaml"
    file.write_text(f"kind: endpoint\nmodel: m\nbase_url: '{url}'\n")
    source = Source(file)
    with pytest.raises(ConfigError) as refused:
        source.parse(Options, source.data)
    assert refused.value.line == 3
    return refused.value.message


@pytest.mark.parametrize(
    "url",
    [
        f"https://user:{SECRET}@host/v1",
        f"https://{SECRET}@host/v1",
        f"https://user:{SECRET}/x@host/v1",
        f"htps://user:{SECRET}@host/v1",
        f"user:{SECRET}@host",
        f"https://user:{SECRET}@host/v1/chat/completions",
    ],
)
def test_a_password_in_a_url_is_refused_and_not_told(tmp_path: Path, url: str) -> None:
    message = refusal(tmp_path, url)
    assert "which `api_key_env` names" in message
    assert SECRET not in message
    with pytest.raises(ValidationError) as refused:  # as the commands of `train` tell it
        Options(kind="endpoint", model="m", base_url=(url,))
    assert SECRET not in str(refused.value)


@pytest.mark.parametrize("url", [f"https://host:{SECRET}/v1", f"https://[{SECRET}/v1", SECRET, f"{SECRET}://host/v1"])
def test_what_is_no_url_may_be_a_secret_and_is_not_told(tmp_path: Path, url: str) -> None:
    assert refusal(tmp_path, url) == "base_url.0: must be a URL such as https://host/v1"


@pytest.mark.parametrize(
    "url",
    [
        f"https://host/v1?key={SECRET}",
        "https://host.openai.azure.com/openai/deployments/m?api-version=2024-10-21",
        f"https://host/v1#{SECRET}",
        f"https://host/v1/chat/completions?key={SECRET}",
    ],
)
def test_what_no_request_would_carry_on_is_refused(tmp_path: Path, url: str) -> None:
    message = refusal(tmp_path, url)
    assert "leave out what begins with `?` or `#`" in message
    assert SECRET not in message
