"""README.md says what is true: its tree, its configuration reference, its commands and its examples."""

import re
import shlex
import subprocess
from pathlib import Path
from typing import get_args

import click
import pytest
import yaml
from click.testing import CliRunner

from bench import session
from corrector import engines, gate, objectives, templates
from corrector.correction import Verdict
from corrector.corrector import CorrectorOptions
from corrector.engines.llamacpp import Options as LlamaOptions
from corrector.strictyaml import Strict, _Loader
from gateway import plan, upstreams
from gateway.app import EXPOSED
from gateway.cli import cli
from gateway.config import ServerOptions, read
from tests.conftest import ROOT

README = (ROOT / "README.md").read_text()


def section(title: str) -> str:
    """The text below a heading, up to the next one of its level or above."""
    level, _, _ = title.partition(" ")
    found = re.search(rf"^{re.escape(title)}\n(.*?)(?=^#{{1,{len(level)}}} |\Z)", README, re.DOTALL | re.MULTILINE)
    assert found, f"README.md has no section {title!r}"
    return found.group(1)


def blocks(language: str) -> list[str]:
    found = re.findall(r"^```(\w*)\n(.*?)^```$", README, re.DOTALL | re.MULTILINE)
    return [block for told, block in found if told == language]


def table(text: str) -> dict[str, list[str]]:
    """Rows of the Markdown tables in a text, by their first cell's code."""
    rows = [re.split(r"(?<!\\)\|", line)[1:-1] for line in text.splitlines() if line.startswith("| `")]
    return {row[0].strip().strip("`"): [cell.strip() for cell in row[1:]] for row in rows}


def tracked() -> set[str]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard"],
        cwd=ROOT, capture_output=True, text=True, check=True,
    )  # fmt: skip
    return {path for path in listed.stdout.splitlines() if (ROOT / path).exists()}


def tree() -> set[str]:
    """The paths of the annotated tree; directories end in a slash."""
    [drawn] = [block for block in blocks("") if block.startswith("gateway/")]
    found, folders = set(), [""]
    for line in drawn.splitlines():
        depth = (len(line) - len(line.lstrip())) // 2
        path = folders[depth] + line.split()[0]
        assert len(line.split()) > 1, f"{path} is not annotated"
        found.add(path)
        if path.endswith("/"):
            folders[depth + 1 :] = [path]
    return found


def test_every_path_of_the_tree_exists() -> None:
    missing = [path for path in tree() if not (ROOT / path).exists()]
    assert not missing


def test_every_module_stands_in_the_tree() -> None:
    rooms = ("gateway/", "corrector/", "wire/", "bench/", "train/", "recipes/")
    modules = {path for path in tracked() if path.startswith(rooms) and path.endswith(".py")}
    assert {path for path in modules if not path.endswith("__init__.py")} <= tree()


def test_everything_at_the_top_stands_in_the_tree() -> None:
    top = {path.split("/")[0] + ("/" if "/" in path else "") for path in tracked()}
    unsaid = {"README.md", ".gitignore", ".dockerignore", ".ci/"}
    assert top - unsaid <= tree()


@pytest.mark.parametrize(
    ("title", "models"),
    [
        ("### policies.yaml: `policies`", [upstreams.load(kind).Options for kind in upstreams.kinds()]),
        ("### policies.yaml: `correctors`", [CorrectorOptions]),
        ("### policies.yaml: `engine`", [engines.load(kind).Options for kind in engines.kinds()]),
        ("### policies.yaml: `server`", [ServerOptions]),
        ("### objectives.yaml", [objectives.Tenant]),
    ],
)
def test_the_reference_has_every_key_and_no_other(title: str, models: list[type[Strict]]) -> None:
    extra = {"engine"} if "correctors" in title else set()
    assert set(table(section(title))) == {name for model in models for name in model.model_fields} | extra


@pytest.mark.parametrize(
    ("title", "model"),
    [
        ("### policies.yaml: `correctors`", CorrectorOptions),
        ("### policies.yaml: `engine`", LlamaOptions),
        ("### policies.yaml: `server`", ServerOptions),
        ("### objectives.yaml", objectives.Tenant),
    ],
)
def test_the_reference_has_the_defaults(title: str, model: type[Strict]) -> None:
    told = table(section(title))
    for name, field in model.model_fields.items():
        default = field.get_default(call_default_factory=True)
        said = re.findall(r"`([^`]*)`", told[name][0])
        if said and not field.is_required() and default is not None and not isinstance(default, Strict):
            default = list(default) if isinstance(default, tuple) else default
            assert yaml.load(said[0], _Loader) == default, name  # our files' own: `off` is a word


def test_the_reference_has_the_gates_defaults() -> None:
    told = table(section("### policies.yaml: `correctors`"))["gate"]
    for name, field in gate.GateOptions.model_fields.items():
        assert f"`{name}` (`{field.default}`)" in told[1]


def test_every_kind_and_template_is_named() -> None:
    for name in [*upstreams.kinds(), *engines.kinds(), *templates.names()]:
        assert f"`{name}`" in section("## Configuration")


def test_every_verdict_reason_and_header_is_named() -> None:
    comes_back = section("## What comes back")
    reasons = {*get_args(gate.Fault), *get_args(plan.Skip)}
    for name in [*get_args(Verdict), *reasons, *(header for header in EXPOSED if header.startswith("X-"))]:
        assert f"`{name}`" in comes_back


def test_the_yaml_examples_load(tmp_path: Path) -> None:
    """Each example, laid over the files that ship, is a valid configuration where vLLM is installed."""
    (tmp_path / "vllm").touch(mode=0o755)
    examples = [yaml.safe_load(block.replace("/opt/vllm/bin", str(tmp_path))) for block in blocks("yaml")]
    assert len(examples) == 3
    for example in examples:
        paths = []
        for name in ("policies.yaml", "objectives.yaml"):
            shipped = yaml.safe_load((ROOT / name).read_text())
            for part in shipped:
                shipped[part].update(example.get(part, {}))
            paths.append(tmp_path / name)
            paths[-1].write_text(yaml.safe_dump(shipped, sort_keys=False))
        config = read(*paths)
        for part, named in example.items():
            held = config.correctors if part == "correctors" else getattr(config.objectives, part)
            assert set(named) <= set(held)


def test_the_named_make_targets_exist() -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    named = set(re.findall(r"(?:`|^)make ([a-z-]+)", README, re.MULTILINE))
    assert {"serve", "test", "bench", "session"} <= named
    assert named <= targets


@pytest.mark.parametrize("command", ["serve", "check", "align"])
def test_the_commands_options_exist(command: str) -> None:
    [listed] = [block for block in blocks("") if block.startswith("metaaligner serve")]
    lines = [line for line in listed.splitlines() if line.startswith(f"metaaligner {command} ")]
    said = {option for line in lines for option in re.findall(r"--[a-z-]+", line)}
    helped = CliRunner().invoke(cli, [command, "--help"]).output
    assert said
    assert said <= set(re.findall(r"--[a-z-]+", helped))


def test_every_command_is_one_and_has_its_options() -> None:
    lines = [line for kind in ("", "sh") for block in blocks(kind) for line in block.replace("\\\n", " ").splitlines()]
    called = [line for line in lines if re.match(r"(?:\w+=\S+ )?(?:\.venv/bin/)?metaaligner ", line)]
    commands = [shlex.split(re.sub(r"\A\w+=\S+ |[\[\]]", " ", line), comments=True) for line in called]
    assert len(commands) > 15
    for words in commands:
        command: click.Command = cli
        for word in words[1:]:
            if not isinstance(command, click.Group) or "|" in word:
                break
            found = command.get_command(click.Context(command), word)
            assert found is not None, f"no command {word!r}: {words}"
            command = found
        known = {option for param in command.params for option in (*param.opts, *param.secondary_opts)}
        assert {word for word in words if word.startswith("--")} <= known, words


def test_the_recorded_session_is_whole() -> None:
    told = section("## What comes out")
    assert session.QUESTION in told
    assert "**Draft**" in told
    for name, said in session.WANTED.items():
        assert f"**Toward {name}** (*{said}*): corrected (rewritten)" in told
