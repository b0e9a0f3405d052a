"""The layout of several GPUs, run by two processes of this machine's CPU: every weight sharded, saved, gone on with."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.processes import free_port
from tests.gateway.test_cli import METAALIGNER
from tests.train.test_sft import ROWS
from train.rows import write

pytest.importorskip("torch", reason="the extra `train` is not installed")
pytestmark = pytest.mark.filterwarnings("ignore")  # of torch, transformers and trl

LAYOUTS = Path(__file__).parents[2] / "train/runs/accelerate"
# accelerate shards over no CPUs. What it takes for two GPUs here, are two processes that talk by gloo.
# The first of them is told to stop as soon as there is a file of that name.
ON_CPU = """
import os
import signal
import threading
import time

import accelerate.state as state

state.PartialState._prepare_backend = lambda *_: ("gloo", state.DistributedType.MULTI_CPU)
begin = state.PartialState.__init__

def begin_on_cpu(self, *arguments, **options):
    begin(self, *arguments, **options)
    if self.distributed_type is state.DistributedType.MULTI_CPU:
        state.PartialState._shared_state["distributed_type"] = state.DistributedType.MULTI_GPU

state.PartialState.__init__ = begin_on_cpu

if os.environ.get("STOP_AT") and os.environ.get("RANK") == "0":
    def stop():
        while not os.path.exists(os.environ["STOP_AT"]):
            time.sleep(0.01)
        os.kill(os.getpid(), signal.SIGTERM)

    threading.Thread(target=stop, daemon=True).start()
"""


@pytest.fixture(scope="module")
def small(unpacked: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama of two narrow layers, with the embedded model's words."""
    from transformers import AutoTokenizer, LlamaConfig, LlamaForCausalLM

    folder = tmp_path_factory.mktemp("small")
    tokenizer = AutoTokenizer.from_pretrained(unpacked)
    LlamaForCausalLM(
        LlamaConfig(
            vocab_size=len(tokenizer), hidden_size=32, intermediate_size=64, num_hidden_layers=2,
            num_attention_heads=2, eos_token_id=tokenizer.eos_token_id, bos_token_id=tokenizer.bos_token_id,
        )
    ).save_pretrained(folder)  # fmt: skip
    tokenizer.save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def on_cpu(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("on_cpu")
    (folder / "sitecustomize.py").write_text(ON_CPU)
    return folder


def launched(layout: str, base: Path, rows: Path, out: Path, on_cpu: Path, **given: str) -> int:
    """The exit status of a training by two processes."""
    command = [
        sys.executable, "-W", "ignore", "-m", "accelerate.commands.launch", "--config_file", str(LAYOUTS / layout),
        "--num_processes", "2", "--main_process_port", str(free_port()), METAALIGNER, "train", "sft", str(rows),
        "--out", str(out), "--model", str(base), "--rank", "0", "--batch", "1", "--max-steps", "30",
        "--save-every", "2", "--stage", "better",
    ]  # fmt: skip
    env = {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONPATH": str(on_cpu), **given}
    ran = subprocess.run(command, capture_output=True, text=True, check=False, env=env)
    assert ran.returncode == 0 or "stopped in" in ran.stderr, ran.stderr[-3000:]
    return ran.returncode


def test_every_weight_is_trained_over_two_processes_and_gone_on_with(small: Path, on_cpu: Path, tmp_path: Path) -> None:
    import torch
    from safetensors.torch import load_file

    rows = tmp_path / "rows.jsonl"
    write(rows, ROWS)
    at_once, stopped = tmp_path / "at-once/1-better", tmp_path / "stopped/1-better"
    assert launched("fsdp-4.yaml", small, rows, at_once.parent, on_cpu) == 0
    stop_at = stopped / "checkpoint-2/trainer_state.json"
    assert launched("fsdp-4.yaml", small, rows, stopped.parent, on_cpu, STOP_AT=str(stop_at)) != 0
    assert not (stopped / "done").exists()
    assert launched("fsdp-4.yaml", small, rows, stopped.parent, on_cpu) == 0
    before, whole, gone_on = (load_file(folder / "model.safetensors") for folder in (small, at_once, stopped))
    assert whole.keys() == before.keys() == gone_on.keys()
    for name in whole:
        assert not torch.equal(whole[name], before[name]), name
        assert torch.equal(whole[name], gone_on[name]), name
