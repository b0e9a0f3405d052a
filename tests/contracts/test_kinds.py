"""What every file of `corrector/engines`, `gateway/upstreams` and `gateway/surfaces` keeps to."""

import importlib
import pkgutil
import sys
import typing
from collections.abc import Mapping
from pathlib import Path
from types import ModuleType

import pytest

from corrector import engines
from corrector.engines import EngineOptions, Launch, socket_path
from corrector.strictyaml import Strict
from gateway import surfaces, upstreams
from gateway.app import SURFACES
from gateway.upstreams import PolicyOptions

# What a kind needs to be configured at all; a new kind that needs more says so here by failing.
AWAY = {"model": "smollm2-135m-instruct", "base_url": "http://127.0.0.1:1/v1"}
ENGINE = {**AWAY, "executable": sys.executable}
POLICY = {"corrector": "none", "model": "some-model", "base_url": "http://127.0.0.1:1/v1"}


def filled(options: type[Strict], kind: str, known: Mapping[str, object]) -> Strict:
    engine = engines.load("endpoint").Options.model_validate({"kind": "endpoint", **AWAY})
    given = {"kind": kind, "engine": engine, **known}
    return options.model_validate({name: value for name, value in given.items() if name in options.model_fields})


@pytest.mark.parametrize("kind", engines.kinds())
class TestEngine:
    def test_its_options_are_frozen_strict_and_of_its_kind(self, kind: str) -> None:
        options = engines.load(kind).Options
        assert issubclass(options, EngineOptions)
        assert typing.get_args(options.model_fields["kind"].annotation) == (kind,)
        made = filled(options, kind, ENGINE)
        with pytest.raises(ValueError, match="frozen"):
            made.kind = "other"  # type: ignore[attr-defined]

    def test_it_is_reached_where_it_answers(self, kind: str, tmp_path: Path) -> None:
        engine = engines.load(kind)
        options = filled(engine.Options, kind, ENGINE)
        socket = socket_path(tmp_path, options)  # type: ignore[arg-type]
        launch = engine.launch(options, socket)
        urls = engine.base_urls(options, socket)
        assert urls
        if launch is None:
            assert all(url.startswith("http") for url in urls)
        else:
            assert isinstance(launch, Launch)
            assert str(socket) in " ".join(launch.argv)
            assert urls == (f"unix:{socket}",)

    def test_equal_options_share_an_engine(self, kind: str, tmp_path: Path) -> None:
        options = engines.load(kind).Options
        one, same = filled(options, kind, ENGINE), filled(options, kind, ENGINE)
        other = filled(options, kind, {**ENGINE, "context": 1024})
        assert socket_path(tmp_path, one) == socket_path(tmp_path, same)  # type: ignore[arg-type]
        assert socket_path(tmp_path, one) != socket_path(tmp_path, other)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", upstreams.kinds())
class TestUpstream:
    def test_its_options_are_frozen_strict_and_of_its_kind(self, kind: str) -> None:
        options = upstreams.load(kind).Options
        assert issubclass(options, PolicyOptions)
        assert typing.get_args(options.model_fields["kind"].annotation) == (kind,)
        with pytest.raises(ValueError, match="unknown_option"):
            options.model_validate({**filled(options, kind, POLICY).model_dump(), "unknown_option": 1})

    async def test_it_builds_without_asking_anybody(self, kind: str, tmp_path: Path) -> None:
        module = upstreams.load(kind)
        upstream = module.build("some", filled(module.Options, kind, POLICY), tmp_path)
        assert callable(upstream.ask)
        await upstream.aclose()


def _surfaces() -> list[ModuleType]:
    names = [module.name for module in pkgutil.iter_modules(surfaces.__path__) if module.name != "http"]
    return [importlib.import_module(f"gateway.surfaces.{name}") for name in names]


@pytest.mark.parametrize("surface", _surfaces(), ids=lambda module: module.__name__)
def test_a_surface_has_routes(surface: ModuleType) -> None:
    assert callable(surface.routes)
    assert surface in SURFACES, "what app.py does not name, nobody can call"
