"""The servers that are measured, each in a process of its own, in front of one upstream on loopback."""

import contextlib
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

from bench.processes import answering, free_port, process

POLICIES = """
policies:
  loopback: {{kind: openai, base_url: "{url}", corrector: instant, retries: 0}}
  trickling: {{kind: openai, base_url: "{url}", corrector: trickling, retries: 0}}
correctors:
  instant: {{engine: {{kind: endpoint, base_url: "{url}", model: instant}}, template: ultrafeedback}}
  trickling: {{engine: {{kind: endpoint, base_url: "{url}", model: trickling}}, template: ultrafeedback}}
"""
OBJECTIVES = """
objectives:
  helpfulness: The response should provide useful resources and suggestions to the user
tenants:
  public: {{keys: none, objectives: [helpfulness], allow_off: true, audit: {audit}}}
"""
# One worker a pod, no database, errors only, nothing called back: what LiteLLM's own pages on production and on
# benchmarks say. No key is checked, which its proxy wants to be told in so many words.
LITELLM = """
model_list:
  - {{model_name: loopback, litellm_params: {{model: openai/loopback, api_base: "{url}", api_key: none}}}}
  - {{model_name: trickling, litellm_params: {{model: openai/trickling, api_base: "{url}", api_key: none}}}}
litellm_settings: {{callbacks: [], num_retries: 0, request_timeout: 600, set_verbose: false, telemetry: false}}
general_settings: {{dangerously_permit_weak_or_unset_master_key: true}}
"""
LITELLM_ENVIRONMENT = {
    "LITELLM_MODE": "PRODUCTION",
    "LITELLM_LOG": "ERROR",
    "LITELLM_LOCAL_MODEL_COST_MAP": "True",
    "LITELLM_LOCAL_ANTHROPIC_BETA_HEADERS": "True",
    "NO_DOCS": "True",
}


@dataclass(frozen=True, slots=True)
class Server:
    """One that answers. `start_s`: from its start to its first answer."""

    url: str
    pid: int
    start_s: float


@contextlib.contextmanager
def upstream() -> Iterator[Server]:
    """Its `url` is the base URL, with `/v1`."""
    started = time.perf_counter()
    with process(sys.executable, "-m", "bench.upstream") as child:
        assert child.stdout is not None
        url = f"http://127.0.0.1:{int(child.stdout.readline())}/v1"
        yield Server(url, child.pid, time.perf_counter() - started)


@contextlib.asynccontextmanager
async def serving(directory: Path, *argv: str, **env: str) -> AsyncIterator[Server]:
    """A command that serves on the `{port}` of its words. Its output goes to a file of the directory."""
    port = free_port()
    words = [word.format(port=port) for word in argv]
    started = time.perf_counter()
    with (directory / f"{port}.log").open("w") as log, process(*words, stdout=log, **env) as child:
        await answering(f"http://127.0.0.1:{port}")
        yield Server(f"http://127.0.0.1:{port}", child.pid, time.perf_counter() - started)


def floor(directory: Path, url: str) -> contextlib.AbstractAsyncContextManager[Server]:
    uvicorn = (sys.executable, "-m", "uvicorn", "bench.floor:app", "--port", "{port}")
    return serving(directory, *uvicorn, "--no-access-log", "--log-level", "error", UPSTREAM=url)


def gateway(
    directory: Path, url: str, workers: int = 1, audit: str = "off"
) -> contextlib.AbstractAsyncContextManager[Server]:
    """`audit`: what of its answers it keeps, in a trail in the directory."""
    home = directory / audit
    home.mkdir(exist_ok=True)
    policies, objectives = home / "policies.yaml", home / "objectives.yaml"
    policies.write_text(POLICIES.format(url=url))
    objectives.write_text(OBJECTIVES.format(audit=audit))
    files = ("--policies", str(policies), "--objectives", str(objectives))
    metaaligner = str(Path(sys.executable).parent / "metaaligner")
    command = (metaaligner, "serve", "--port", "{port}", *files, "--workers", str(workers))
    return serving(directory, *command, XDG_STATE_HOME=str(home))


def litellm(directory: Path, url: str, home: Path) -> contextlib.AbstractAsyncContextManager[Server]:
    """LiteLLM's proxy, from the environment at `home`."""
    config = directory / "litellm.yaml"
    config.write_text(LITELLM.format(url=url))
    command = (str(home / "bin/litellm"), "--config", str(config), "--host", "127.0.0.1", "--port", "{port}")
    return serving(directory, *command, "--num_workers", "1", "--telemetry", "False", **LITELLM_ENVIRONMENT)


def litellm_version(home: Path) -> str:
    code = "import importlib.metadata as m; print(m.version('litellm'))"
    python = str(home / "bin/python")
    ran = subprocess.run([python, "-c", code], capture_output=True, text=True, check=True)
    return ran.stdout.strip()
