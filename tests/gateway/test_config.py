"""policies.yaml: what it says, and what it is told when it says something wrong."""

import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from corrector.strictyaml import ConfigError
from gateway.config import Config, read
from tests.conftest import OBJECTIVES, ROOT

POLICIES = """\
policies:
  smollm2: {kind: local, engine: {kind: llamacpp, model: smollm2-135m-instruct}, corrector: metaaligner}
  gpt-4o-mini: {kind: openai, base_url: https://api.example/v1, api_key_env: OPENAI_API_KEY, corrector: metaaligner,
                timeout_s: 60, retries: 2, fallbacks: [smollm2]}
  claude: {kind: litellm, model: anthropic/claude-sonnet-4-5, api_key_env: ANTHROPIC_API_KEY, corrector: metaaligner}
correctors:
  metaaligner: {engine: {kind: llamacpp, model: smollm2-135m-instruct}, template: ultrafeedback, max_new_tokens: 1024}
  metaaligner-13b: {engine: {kind: endpoint, base_url: http://127.0.0.1:8001/v1, model: MetaAligner/UltraFeedback-13B}}
"""


def load(tmp_path: Path, policies: str, objectives: str = OBJECTIVES, *, anonymous: bool = True) -> Config:
    (tmp_path / "policies.yaml").write_text(policies)
    (tmp_path / "objectives.yaml").write_text(objectives)
    return read(tmp_path / "policies.yaml", tmp_path / "objectives.yaml", anonymous=anonymous)


def test_the_files_that_ship() -> None:
    config = read(ROOT / "policies.yaml", ROOT / "objectives.yaml")
    assert list(config.policies) == ["smollm2"]
    assert config.objectives.anonymous == "public"
    assert config.policies["smollm2"].corrector in config.correctors


def test_what_the_shipped_file_shows_commented_out_is_valid(tmp_path: Path) -> None:
    shown = re.sub(r"^  # (?= *[\w.-]+:)", "  ", (ROOT / "policies.yaml").read_text(), flags=re.MULTILINE)
    config = load(tmp_path, shown)
    assert {"smollm2", "gpt-4o-mini", "claude"} <= set(config.policies)
    assert "metaaligner-13b" in config.correctors


def test_every_kind_of_policy(tmp_path: Path) -> None:
    config = load(tmp_path, POLICIES)
    hosted = config.policies["gpt-4o-mini"]
    assert (hosted.kind, hosted.fallbacks, hosted.model) == ("openai", ("smollm2",), None)
    assert config.correctors["metaaligner-13b"].options.template == "ultrafeedback"
    assert [engine.kind for engine in config.engines()] == ["llamacpp", "llamacpp", "endpoint"]


@pytest.mark.parametrize(
    ("policy", "corrector", "drafting"),
    [
        ("", "", "ngram"),
        ("", ", drafting: none", "none"),
        ("", ", drafting: answer", "answer"),
        ("", ", options: {speculative_config: {method: mtp}}", "none"),
        ("own: {kind: local, corrector: none, engine: {kind: vllm, model: some/model, executable: sh}}", "", "none"),
        (
            "own: {kind: local, corrector: none, engine: {kind: vllm, model: another/model, executable: sh}}",
            "",
            "ngram",
        ),
    ],
)
def test_a_corrector_on_vllm_drafts_unless_told_otherwise_or_its_engine_is_a_policys_too(
    tmp_path: Path, policy: str, corrector: str, drafting: str
) -> None:
    engine = f"{{kind: vllm, model: some/model, executable: sh{corrector}}}"
    policies = (
        f"policies:\n  hosted: {{kind: openai, base_url: https://api.example/v1, corrector: metaaligner}}\n  {policy}\n"
    )
    config = load(tmp_path, f"{policies}correctors:\n  metaaligner: {{engine: {engine}}}\n")
    assert config.correctors["metaaligner"].engine.model_dump()["drafting"] == drafting
    *others, _ = config.engines()
    assert [told.model_dump()["drafting"] for told in others] == ["none"] * bool(policy)


@pytest.mark.parametrize(("said", "drafting"), [("", "prompt_lookup"), (", drafting: none", "none")])
def test_a_corrector_on_transformers_drafts_unless_told_otherwise(tmp_path: Path, said: str, drafting: str) -> None:
    pytest.importorskip("transformers", reason="the extra `train` is not installed")
    engine = f"{{kind: transformers, model: some/model{said}}}"
    policies = "policies:\n  hosted: {kind: openai, base_url: https://api.example/v1, corrector: metaaligner}\n"
    config = load(tmp_path, f"{policies}correctors:\n  metaaligner: {{engine: {engine}}}\n")
    assert config.correctors["metaaligner"].engine.model_dump()["drafting"] == drafting


@pytest.mark.parametrize(
    ("old", "new", "line", "message"),
    [
        ("policies:", "polices:", 1, "unknown key 'polices'; did you mean 'policies'?"),
        ("kind: local", "kind: locl", 2, "unknown policy kind 'locl'; did you mean 'local'?"),
        ("kind: local, ", "", 2, "unknown policy kind None; known: litellm, local, openai"),
        ("kind: llamacpp, model: smollm2-135m-instruct}, corrector", "kind: llama, model: x}, corrector", 2,
         "unknown engine kind 'llama'; did you mean 'llamacpp'?"),
        ("model: smollm2-135m-instruct}, corrector", "model: /no/such.gguf}, corrector", 2,
         "no GGUF file '/no/such.gguf'"),
        ("corrector: metaaligner}", "corrector: metaligner}", 2,
         "unknown corrector 'metaligner'; did you mean 'metaaligner'?"),
        ("fallbacks: [smollm2]", "fallbacks: [smollm]", 4, "unknown fallback 'smollm'; did you mean 'smollm2'?"),
        ("fallbacks: [smollm2]", "fallbacks: [gpt-4o-mini]", 4, "unknown fallback 'gpt-4o-mini'"),
        ("timeout_s: 60", "timeout: 60", 4, "unknown key 'timeout' in policies.gpt-4o-mini; did you mean 'timeout_s'?"),
        ("timeout_s: 60", "timeout_s: -1", 4, "timeout_s: input should be greater than 0"),
        ("retries: 2", "retries: many", 4, "retries: input should be a valid integer"),
        ("base_url: https://api.example/v1, ", "", 3, "base_url: field required"),
        ("https://api.example/v1", "api.example", 3, "base_url.0: must be a URL such as https://host/v1"),
        ("template: ultrafeedback, max", "template: ultrafeed, max", 7,
         "unknown template 'ultrafeed'; did you mean 'ultrafeedback'?"),
        ("max_new_tokens: 1024", "max_tokens: 1024", 7, "unknown key 'max_tokens' in correctors.metaaligner"),
        ("max_new_tokens: 1024", "gate: {min_ratio: 2}", 7, "gate.min_ratio: input should be less than or equal to 1"),
        ("model: smollm2-135m-instruct}, corrector", "model: ~nobody-of-that-name/x.gguf}, corrector", 2, "home dir"),
        ("model: smollm2-135m-instruct}, corrector", f"model: {'x' * 5000}}}, corrector", 2, "File name too long"),
        ("https://api.example/v1", "https://api.example:99999/v1", 3, "base_url.0: must be a URL such as"),
        (
            "base_url: https://api.example/v1,", "base_url: [https://a.example/v1, https://a.example/v1/],", 3,
            "base_url: 'https://a.example/v1' is there twice",
        ),
        ("timeout_s: 60", "timeout_s: .inf", 4, "timeout_s: input should be a finite number"),
        ("  claude:", "  smollm2:", 5, "duplicate key 'smollm2'; first on line 2"),
        ("policies:", "server: {max_in_fligth: 3}\npolicies:", 1, "did you mean 'max_in_flight'?"),
        ("policies:", "server: {audit: {urll: x}}\npolicies:", 1,
         "unknown key 'urll' in server.audit; did you mean 'url'?"),
        ("max_new_tokens: 1024", "gate: {min_ration: 0.2}", 7,
         "unknown key 'min_ration' in correctors.metaaligner.gate; did you mean 'min_ratio'?"),
        ("max_new_tokens: 1024", "gate: 0.2", 7, "gate: must be a mapping of names to values"),
        ("fallbacks: [smollm2]", "fallbacks: smollm2", 4, "fallbacks: must be a list, such as [one, two]"),
        ("base_url: https://api.example/v1", "base_url: ", 3, "base_url: there is no value"),
        ("timeout_s: 60", "timeout_s: ", 4, "timeout_s: there is no value"),
        ("metaaligner-13b:", "none:", 8, "no corrector can be called `none`"),
        ("policies:", "server: {cors_origins: ['https://App.example:443/']}\npolicies:", 1,
         "cors_origins: 'https://App.example:443/' is no origin; browsers send 'https://app.example'"),
        ("policies:", "server: {cors_origins: [app.example]}\npolicies:", 1, "'app.example' is no origin"),
        ("policies:", "server: {audit: {url: 'sqlite:///a.db', url_env: TRAIL}}\npolicies:", 1,
         "audit: takes `url` or `url_env`, not both"),
        ("policies:", "server: {audit: {url: 'sqlite:///~nobody-of-that-name/a.db'}}\npolicies:", 1, "home dir"),
        ("model: MetaAligner/UltraFeedback-13B", "model: x, context: 0", 8, "context: input should be greater than"),
        ("https://api.example/v1", "https://api.example/v1/chat/completions/", 3,
         "base_url.0: 'https://api.example/v1/chat/completions/' is a URL of one route: say 'https://api.example/v1'"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_said_with_file_and_line(tmp_path: Path, old: str, new: str, line: int, message: str) -> None:
    assert old in POLICIES
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, POLICIES.replace(old, new, 1))
    assert str(caught.value).startswith(f"{tmp_path / 'policies.yaml'}:{line}: ")
    assert message in str(caught.value)


@pytest.mark.parametrize("origin", ["*", "https://app.example", "http://localhost:5173", "chrome-extension://abc"])
def test_origins_as_browsers_send_them(tmp_path: Path, origin: str) -> None:
    assert load(tmp_path, f"server: {{cors_origins: ['{origin}']}}\n{POLICIES}").server.cors_origins == (origin,)


def test_a_trail_at_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    config = load(tmp_path, f"server: {{audit: {{url: 'sqlite:///~/audit.db'}}}}\n{POLICIES}")
    assert config.server.audit.location() == f"sqlite:///{tmp_path}/audit.db"


@pytest.mark.parametrize("pasted", ["sk-proj-abc123", "postgresql://audit:s3cret@db/audit", "AAAA.BBBB"])
@pytest.mark.parametrize(
    ("old", "new", "line"),
    [
        ("OPENAI_API_KEY", "{}", 3),
        ("ANTHROPIC_API_KEY", "{}", 5),
        ("model: MetaAligner/UltraFeedback-13B", "model: x, api_key_env: '{}'", 8),
        ("policies:", "server: {{audit: {{url_env: '{}'}}}}\npolicies:", 1),
    ],
)
def test_a_secret_in_the_place_of_its_variable_is_not_told(
    tmp_path: Path, old: str, new: str, line: int, pasted: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load(tmp_path, POLICIES.replace(old, new.format(pasted), 1))
    assert "_env: takes the name of an environment variable" in str(caught.value)
    assert caught.value.line == line
    assert pasted not in str(caught.value)


def test_what_has_no_key_is_named_but_no_key_that_looks_like_a_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ANTHROPIC_API_KEY", "sk")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    pasted = POLICIES.replace("model: MetaAligner/UltraFeedback-13B", "model: x, api_key_env: hf_abcdef123")
    objectives = OBJECTIVES + "  acme: {keys: [{env: ACME_KEY}]}\n"
    (tmp_path / "policies.yaml").write_text(pasted)
    (tmp_path / "objectives.yaml").write_text(objectives)
    assert read(tmp_path / "policies.yaml", tmp_path / "objectives.yaml", keys=False).unset() == [
        "the policy gpt-4o-mini has no key: the environment variable OPENAI_API_KEY is not set",
        "the corrector metaaligner-13b has no key: the environment variable that it names is not set",
        "the tenant acme has no key: the environment variable ACME_KEY is not set",
    ]
    with pytest.raises(ConfigError, match=r"objectives\.yaml:11: the environment variable ACME_KEY is not set"):
        load(tmp_path, pasted, objectives)


def test_no_policies_at_all(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"policies\.yaml:1: no policies"):
        load(tmp_path, "policies: {}\n")


def test_a_tenant_of_a_policy_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"objectives\.yaml:10: unknown policy 'smollm'; did you mean 'smollm2'"):
        load(tmp_path, POLICIES, OBJECTIVES.replace("allow_off: true", "policies: [smollm]"))


def test_nobody_is_anonymous_where_that_is_not_allowed(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"objectives\.yaml:10: the tenant 'public' needs no key"):
        load(tmp_path, POLICIES, anonymous=False)


def test_the_configuration_is_frozen(tmp_path: Path) -> None:
    config = load(tmp_path, POLICIES)
    with pytest.raises(ValueError, match="frozen"):
        config.policies["smollm2"].corrector = "none"


def test_yaml_of_the_repository_is_plain() -> None:
    """Other tools read these files too."""
    for name in ("policies.yaml", "objectives.yaml", "compose.yaml"):
        assert isinstance(yaml.safe_load((ROOT / name).read_text()), dict)


WORDS = st.sampled_from(
    ["policies", "correctors", "server", "objectives", "sets", "tenants", "smollm2", "kind", "engine", "openai",
     "local", "llamacpp", "keys", "none", "any", "required", "fallbacks", "template", "default", "base_url", "a"]
)  # fmt: skip
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.dates() | WORDS | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=4),
    max_leaves=12,
)


@given(st.dictionaries(WORDS, VALUES, max_size=4), st.lists(WORDS, max_size=4), VALUES, st.booleans())
def test_whatever_is_saved_is_a_configuration_or_told(
    tmp_path_factory: pytest.TempPathFactory, whole: dict[str, Any], steps: list[str], value: Any, objectives: bool
) -> None:
    """Anything at all as a file, or a value of any kind put into a good one."""
    base = yaml.safe_load(OBJECTIVES if objectives else POLICIES)
    at = base
    for step in steps[:-1]:
        at = at.get(step) if isinstance(at, dict) else None
    if steps and isinstance(at, dict):
        at[steps[-1]] = value
    else:
        base = whole
    text = yaml.safe_dump(base)
    try:
        load(tmp_path_factory.mktemp("any"), POLICIES if objectives else text, text if objectives else OBJECTIVES)
        told = "fine.yaml:1: it is valid"
    except ConfigError as error:
        told = str(error)
    assert re.match(r".*\.yaml:\d+: .", told)
