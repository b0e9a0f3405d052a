"""The vllm engine's options, and the command line that they become. vLLM itself: tests/contracts/test_engines.py."""

import json
import sys
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from corrector.drafting import FOLDER, PROPOSER, answer_proposer
from corrector.engines.vllm import LORA_RANKS, OURS, Options, launch, lora_rank, progress


def options(**given: Any) -> Options:
    model = {"kind": "vllm", "model": "some/model", "executable": sys.executable}
    return Options.model_validate({**model, **given})


def argv(**given: Any) -> list[str]:
    made = launch(options(**given), Path("/run/v.sock"))
    assert made is not None
    return list(made.argv)


def env(**given: Any) -> dict[str, str]:
    made = launch(options(**given), Path("/run/v.sock"))
    assert made is not None
    return dict(made.env)


def adapter(folder: Path, config: Any) -> str:
    folder.mkdir(exist_ok=True)
    (folder / "adapter_config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    return str(folder)


def following(words: list[str], word: str) -> str:
    return words[words.index(word) + 1]


def test_the_command() -> None:
    words = argv(context=2048)
    assert words[:7] == [sys.executable, "-P", "-m", "corrector.tether", sys.executable, "serve", "some/model"]
    assert following(words, "--uds") == "/run/v.sock"
    assert following(words, "--max-model-len") == "2048"
    assert following(words, "--served-model-name") == "some/model"
    assert "--no-enable-log-requests" in words
    assert "--enable-lora" not in words


def test_options_by_their_own_names() -> None:
    words = argv(
        options={
            "tensor_parallel_size": 2,
            "dtype": "bfloat16",
            "gpu_memory_utilization": 0.5,
            "enforce_eager": True,
            "enable_prefix_caching": False,
            "compilation_config": {"mode": 3},
            "lora_target_modules": ["q_proj", "v_proj"],
        }
    )
    assert words[words.index("--tensor-parallel-size") :] == [
        "--tensor-parallel-size", "2", "--dtype", "bfloat16", "--gpu-memory-utilization", "0.5", "--enforce-eager",
        "--no-enable-prefix-caching", "--compilation-config", '{"mode": 3}',
        "--lora-target-modules", "q_proj", "v_proj",
    ]  # fmt: skip


@pytest.mark.parametrize("name", sorted(OURS))
def test_what_the_gateway_gives_itself_is_refused_in_words(name: str) -> None:
    with pytest.raises(ValidationError, match=f"'{name}' is not for vLLM's options: .*{OURS[name][-8:]}"):
        options(options={name: "x"})


@pytest.mark.parametrize("name", ["--dtype", "max-model-len", "Dtype", ""])
def test_a_name_is_written_as_python_has_it(name: str) -> None:
    with pytest.raises(ValidationError, match=r"String should match"):
        options(options={name: 1})


def test_an_adapter_answers_under_the_models_name(tmp_path: Path) -> None:
    words = argv(adapter=adapter(tmp_path / "lora", {"r": 4, "rank_pattern": {"q_proj": 20}}))
    assert following(words, "--served-model-name") == "some/model-base"
    assert json.loads(following(words, "--lora-modules")) == {"name": "some/model", "path": str(tmp_path / "lora")}
    assert following(words, "--max-lora-rank") == "32"


@pytest.mark.parametrize(
    ("config", "said"),
    [
        (None, "PEFT's adapter_config.json is wanted"),
        ("{", "is not that of a LoRA"),
        ({"peft_type": "PROMPT_TUNING"}, "is not that of a LoRA"),
        ([], "is not that of a LoRA"),
        ({"r": LORA_RANKS[-1] + 1}, "vLLM takes up to 512"),
    ],
)
def test_what_is_no_adapter_is_said(tmp_path: Path, config: Any, said: str) -> None:
    folder = str(tmp_path / "none") if config is None else adapter(tmp_path / "lora", config)
    with pytest.raises(ValidationError, match=said):
        options(adapter=folder)


def test_a_rank_is_read() -> None:
    with pytest.raises(ValueError, match="no adapter in '/no/such/folder'"):
        lora_rank(Path("/no/such/folder"))


def test_a_folder_without_a_model_is_said(tmp_path: Path) -> None:
    with pytest.raises(ValidationError, match=r"there is no config\.json in it"):
        options(model=str(tmp_path))


def test_a_missing_program_is_said_with_what_to_do() -> None:
    with pytest.raises(ValidationError, match=r"no program '/no/such/vllm' here: `pip install vllm`.*`make test-vllm`"):
        options(executable="/no/such/vllm")


def test_it_calls_nobody_and_asks_for_no_key(tmp_path: Path) -> None:
    assert env() == {"VLLM_NO_USAGE_STATS": "1", "VLLM_API_KEY": ""}
    assert env(env={"OMP_NUM_THREADS": "2"})["OMP_NUM_THREADS"] == "2"


def test_intels_openmp_is_loaded_where_it_came_along(tmp_path: Path) -> None:
    for path in ("bin/vllm", "lib/libiomp5.so"):
        (tmp_path / path).parent.mkdir()
        (tmp_path / path).touch(mode=0o755)
    assert env(executable=str(tmp_path / "bin/vllm"))["LD_PRELOAD"] == str(tmp_path / "lib/libiomp5.so")


def test_a_corrector_has_no_penalty_that_a_checkpoint_asks_for() -> None:
    """It repeats its prompt for the most part. A policy has what its checkpoint says."""

    def given(made: Options) -> str | None:
        words = launch(made, Path("/run/v.sock")).argv  # type: ignore[union-attr]
        return following(list(words), "--generation-config") if "--generation-config" in words else None

    assert given(options().correcting()) == "vllm"
    assert given(options(drafting="none", options={"dtype": "half"}).correcting()) == "vllm"
    assert given(options(options={"generation_config": "auto"}).correcting()) == "auto"
    assert given(options()) is None
    assert options().correcting().drafting == "ngram"
    assert options(drafting="none").correcting().drafting == "none"
    assert options(options={"speculative_config": {"method": "mtp"}}).correcting().drafting == "none"


@pytest.mark.parametrize("drafting", ["ngram", "suffix", "answer"])
def test_drafting_writes_the_speculative_config(drafting: str) -> None:
    config = json.loads(following(argv(drafting=drafting, draft_length=5), "--speculative-config"))
    assert config["num_speculative_tokens"] == 5
    assert config["method"] == {"answer": "custom_class"}.get(drafting, drafting)
    with pytest.raises(ValidationError, match="say one or the other"):
        options(drafting=drafting, options={"speculative_config": {}})
    assert "--speculative-config" in argv(options={"speculative_config": {"method": "mtp"}})


def test_the_proposer_is_found_by_vllms_python_and_nothing_else_is(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PYTHONPATH", "/theirs")
    assert env(drafting="answer")["PYTHONPATH"] == f"{FOLDER}:/theirs"
    assert "PYTHONPATH" not in env(drafting="ngram")
    module, _, name = PROPOSER.partition(".")
    assert (FOLDER / f"{module}.py").samefile(answer_proposer.__file__)
    assert hasattr(answer_proposer, name)
    assert {path.name for path in FOLDER.iterdir() if path.name[0] != "_"} == {f"{module}.py"}


PRINTED = {
    "(APIServer pid=7) INFO [model.py:733] Resolved architecture: LlamaForCausalLM": "the model is a Llama",
    "(Worker pid=9) INFO 11-25 22:59:17 [cpu_model_runner.py:68] Starting to load model /m...": "loading the weights",
    "Loading safetensors checkpoint shards:  50% Completed | 1/2 [00:00<?, ?it/s]": "50 % of the weights are there",
    "Loading safetensors checkpoint shards:   0% Completed | 0/2 [00:00<?, ?it/s]": None,
    "(Worker pid=9) INFO [default_loader.py:501] Loading weights took 0.91 seconds": "the weights took 0.91 s",
    "(EngineCore pid=8) INFO [kv_cache_utils.py:2327] GPU KV cache size: 23,296 tokens, Maximum concurrency for 4,096 "
    "tokens per request: 5.69x": "room for 23,296 tokens, 5.69 prompts of full length",
    "(EngineCore pid=8) INFO [core.py:402] init engine (profile, create kv cache) took 4.07 s": "warming up",
    "(APIServer pid=7) INFO [serving.py:226] Loaded new LoRA adapter: name 'm', path '/a'": "the adapter is loaded",
    "(APIServer pid=7) INFO [launcher.py:195] Route: /v1/completions, Methods: POST": None,
}


@pytest.mark.parametrize("line", PRINTED)
def test_what_the_log_says_of_a_start(line: str) -> None:
    wanted, told = PRINTED[line], progress(line)
    assert (told or "").startswith(wanted) if wanted else told is None
