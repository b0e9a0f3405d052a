"""YAML that says where it is wrong: duplicate keys, unknown keys and bad values are errors with file and line.

Plain words stay words: only `true` and `false` are booleans (YAML 1.2), so `mode: off` means what it says.
"""

import difflib
import os
import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any, TypeVar, get_args
from urllib.parse import urlsplit

import yaml
from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

# What clients of an API put after its URL themselves; the longer ones first.
ROUTES = ("/chat/completions", "/completions", "/responses", "/embeddings")
# What the YAML library says, and what to do about it.
HINTS = {
    "mapping values are not allowed": ": put a text that has `: ` in it in quotes",
    "did not find expected ',' or": ": within { } and [ ] put a text that has `: ` in it in quotes",
    "found character that cannot start any token": ": put a text that begins so in quotes, and indent with spaces",
}
# What pydantic calls by Python's names.
SHAPES = {
    "tuple_type": "must be a list, such as [one, two]",
    "list_type": "must be a list, such as [one, two]",
    "dict_type": "must be a mapping of names to values",
    "model_type": "must be a mapping of names to values",
}

Step = str | int
Model = TypeVar("Model", bound=BaseModel)


class Strict(BaseModel):
    """Base of every configuration model: frozen, and unknown keys are errors."""

    model_config = ConfigDict(frozen=True, extra="forbid", strict=False, allow_inf_nan=False, hide_input_in_errors=True)


def _http(url: str) -> str:
    """What may hold a secret is not told: errors go into logs, and to whoever looks at the console."""
    if "@" in url:
        raise ValueError(
            "has an `@`, as a URL with a password in it: a key belongs in an environment variable, which "
            "`api_key_env` names (an `@` in a path can be said `%40`)"
        )
    if "?" in url or "#" in url:
        raise ValueError(
            "ends in a query or a fragment, which no request would carry on: leave out what begins with `?` or `#` "
            "(Azure needs no `api-version` at https://RESOURCE.openai.azure.com/openai/v1)"
        )
    if not _has_a_host(url):
        raise ValueError("must be a URL such as https://host/v1")
    if (whole := url.rstrip("/")).endswith(ROUTES):
        route = next(route for route in ROUTES if whole.endswith(route))
        raise ValueError(f"{url!r} is a URL of one route: say {whole.removesuffix(route)!r}")
    return url


def _has_a_host(url: str) -> bool:
    """Also of what `urlsplit` refuses in words that repeat it."""
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # a port that is none, brackets that do not match
        return False


def _different(urls: tuple[str, ...]) -> tuple[str, ...]:
    if twice := next((url for url in urls if sum(url.rstrip("/") == other.rstrip("/") for other in urls) > 1), None):
        raise ValueError(f"{twice!r} is there twice")
    return urls


Urls = Annotated[
    tuple[Annotated[str, AfterValidator(_http)], ...],
    BeforeValidator(lambda value: (value,) if isinstance(value, str) else value),
    AfterValidator(_different),
    Field(min_length=1),
]
"""One URL, or a list of different ones."""


def _variable(name: str) -> str:
    """What is no name may be the secret itself, and errors go into logs: it is not told."""
    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name):
        raise ValueError("takes the name of an environment variable")
    return name


Variable = Annotated[str, AfterValidator(_variable)]
"""The name of an environment variable that holds a secret."""


def secret(variable: str | None) -> str:
    """What the environment holds under a name, without the space or newline that files of secrets end in; or ""."""
    return os.environ.get(variable or "", "").strip()


def unset(variable: str) -> str:
    """Says that it holds nothing. Some keys look like names: only one such as variables mostly have is told."""
    told = variable if variable.isupper() else "that it names"
    return f"the environment variable {told} is not set"


class ConfigError(Exception):
    """One line: file, line, what is wrong, and what would be right."""

    def __init__(self, path: Path, line: int, message: str) -> None:
        super().__init__(f"{path}:{line}: {message}")
        self.path = path
        self.line = line
        self.message = message


class _Loader(yaml.CSafeLoader):
    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            return super().construct_object(node, deep=deep)
        except (ValueError, LookupError, TypeError, AttributeError, ArithmeticError):  # as `2020-13-45` or `0x_`
            what = node.tag.rpartition(":")[2]
            raise yaml.MarkedYAMLError(
                problem=f"{str(node.value)[:40]!r} is no {what}", problem_mark=node.start_mark
            ) from None


_Loader.yaml_implicit_resolvers = {
    first: [(tag, pattern) for tag, pattern in resolvers if tag != "tag:yaml.org,2002:bool"]
    for first, resolvers in yaml.CSafeLoader.yaml_implicit_resolvers.items()
}
for _first, _word in (("t", "true"), ("f", "false")):
    _Loader.yaml_implicit_resolvers.setdefault(_first, []).append(("tag:yaml.org,2002:bool", re.compile(f"^{_word}$")))


def nearest(name: str, known: Iterable[str]) -> str:
    """`; did you mean 'x'?`, or what there is, or nothing."""
    names = sorted(known)
    close = difflib.get_close_matches(name, names, n=1, cutoff=0.6)
    if close:
        return f"; did you mean {close[0]!r}?"
    return f"; known: {', '.join(names)}" if 0 < len(names) <= 20 else ""


class Source:
    """One YAML file: its data, and the line that each part of it stands on."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            self.raw = path.read_bytes()
            loader = _Loader(self.raw)
        except OSError as error:
            raise ConfigError(path, 1, f"cannot be read: {error.strerror}") from None
        try:
            self._root = loader.get_single_node()
            self._check_keys(self._root, set())
            self.data: Any = {} if self._root is None else loader.construct_document(self._root)
        except yaml.MarkedYAMLError as error:
            mark = error.problem_mark or error.context_mark
            line = mark.line + 1 if mark else 1
            problem = str(error.problem or error.context)
            hint = next((hint for known, hint in HINTS.items() if problem.startswith(known)), "")
            raise ConfigError(path, line, f"not valid YAML: {problem}{hint}") from None
        except yaml.YAMLError as error:
            raise ConfigError(path, 1, f"not valid YAML: {' '.join(str(error).split())}") from None
        except RecursionError:
            raise ConfigError(path, 1, "nested too deeply") from None
        finally:
            loader.dispose()

    def error(self, message: str, *steps: Step) -> ConfigError:
        return ConfigError(self.path, self.line(*steps), message)

    def line(self, *steps: Step) -> int:
        """The line of the value (for a mapping's entry: of its key) at the path, or of its nearest parent."""
        node, line = self._root, 1
        for step in steps:
            if isinstance(node, yaml.MappingNode):
                pair = next((pair for pair in node.value if pair[0].value == str(step)), None)
                if pair is None:
                    break
                line, node = pair[0].start_mark.line + 1, pair[1]
            elif isinstance(node, yaml.SequenceNode) and isinstance(step, int) and step < len(node.value):
                node = node.value[step]
                line = node.start_mark.line + 1
            else:
                break
        return line

    def mapping(self, *steps: Step) -> dict[str, Any]:
        """The mapping at the path; an absent or empty one is {}."""
        value = self.data
        for step in steps:
            if value is not None and not isinstance(value, dict):
                break  # told below
            value = (value or {}).get(step)
        if value is None:
            return {}
        if not isinstance(value, dict):
            raise self.error(f"{_name(steps)} must be a mapping of names to values", *steps)
        for key in value:
            if not isinstance(key, str):
                raise self.error(f"the name {key!r} must be text: put it in quotes", *steps, str(key))
        return value

    def parse(self, model: type[Model], value: Any, *steps: Step) -> Model:
        """`value`, which stands at the path, as a model. Raises `ConfigError` with the line of what is wrong."""
        if not isinstance(value, dict):
            raise self.error(f"{_name(steps)} must be a mapping of names to values", *steps)
        for key in value:
            if key not in model.model_fields:
                hint = nearest(str(key), model.model_fields)
                raise self.error(f"unknown key {str(key)!r} in {_name(steps)}{hint}", *steps, str(key))
        try:
            return model.model_validate(value)
        except ValidationError as error:
            told = _meant(error.errors())
            where = _path(told, value)
            what = ".".join(map(str, where)) or _name(steps)
            if told["type"] == "extra_forbidden":
                hint = nearest(str(where[-1]), _keys(model, told["loc"][:-1]))
                what = _name((*steps, *where[:-1]))
                raise self.error(f"unknown key {str(where[-1])!r} in {what}{hint}", *steps, *where) from None
            raise self.error(f"{what}: {_sentence(told)}", *steps, *where) from None
        except (OSError, RuntimeError) as error:  # of a validator that looks for a file
            raise self.error(f"{_name(steps)}: {' '.join(str(error).split())[:200]}", *steps) from None

    def _check_keys(self, node: yaml.Node | None, done: set[int]) -> None:
        if node is None or id(node) in done:  # an alias; without this, a few of them nested take for ever
            return
        done.add(id(node))
        if isinstance(node, yaml.SequenceNode):
            for item in node.value:
                self._check_keys(item, done)
        if not isinstance(node, yaml.MappingNode):
            return
        seen: dict[str, int] = {}
        for key, value in node.value:
            line = key.start_mark.line + 1
            if not isinstance(key, yaml.ScalarNode):
                raise ConfigError(self.path, line, "a key must be one word or text")
            if key.value in seen:
                raise ConfigError(self.path, line, f"duplicate key {key.value!r}; first on line {seen[key.value]}")
            seen[key.value] = line
            self._check_keys(value, done)


def _name(steps: tuple[Step, ...]) -> str:
    return ".".join(map(str, steps)) or "the file"


def _meant(errors: Sequence[Any]) -> Any:
    """The first error; of those of a union, the member's that took most of the value: a fixed word takes nothing."""
    field = errors[0]["loc"][:1]
    return max(
        (told for told in errors if told["loc"][:1] == field),
        key=lambda told: sum(not str(step).startswith("literal[") for step in told["loc"]),
    )


def _path(told: Any, value: Any) -> list[Step]:
    """Where in `value` it is: the names of a union's members, which pydantic puts between, stand in no file."""
    steps: list[Step] = []
    for step in told["loc"]:
        if isinstance(step, int) or (isinstance(value, dict) and step in value):
            steps.append(step)
            value = value[step] if isinstance(value, (dict, list)) else None
    return [*steps, told["loc"][-1]] if told["type"] == "missing" else steps


def _keys(model: type[BaseModel], steps: Iterable[Any]) -> set[str]:
    """Those that the part of the model at the path may have."""
    models = [model]
    for step in steps:
        fields = [one.model_fields[step] for one in models if step in one.model_fields]
        if fields:  # else a number in a list, or the name of a union's member
            models = [inner for field in fields for inner in _models(field.annotation)]
    return {name for one in models for name in one.model_fields}


def _models(annotation: Any) -> Iterator[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        yield annotation
    for inner in get_args(annotation):
        yield from _models(inner)


def _sentence(error: Any) -> str:
    if error["input"] is None and error["type"] != "value_error":
        return "there is no value"
    if error["type"] in SHAPES:
        return SHAPES[error["type"]]
    message = str(error["msg"]).removeprefix("Value error, ")
    return message[:1].lower() + message[1:]
