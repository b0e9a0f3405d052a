"""`metaaligner audit list | show | purge | export`: the trail from a terminal."""

import asyncio
import json
import os
import re
import sys
import tempfile
from collections import Counter
from collections.abc import Awaitable, Callable, Iterator
from contextlib import aclosing, contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any, TextIO, TypeVar

import click
from alembic.util import CommandError
from rich.console import Console
from rich.table import Table
from sqlalchemy.exc import SQLAlchemyError

from corrector.objectives import Tenant
from gateway import worddiff
from gateway.audit import pairs
from gateway.audit.search import Wanted
from gateway.audit.store import Store
from gateway.audit.trail import expired
from gateway.config import Config, checked, read

Told = TypeVar("Told")

_FILES = (
    click.option("--policies", type=click.Path(path_type=Path), default=Path("policies.yaml"), show_default=True),
    click.option("--objectives", type=click.Path(path_type=Path), default=Path("objectives.yaml"), show_default=True),
    click.option("--url", help="Another trail: sqlite:///FILE or postgresql://..."),
)
_TENANT = click.option("--tenant", help="Of this tenant only.")


def _files(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_FILES):
        command = option(command)
    return command


@click.group()
def audit() -> None:
    """What became of the answers: list, show, delete, export."""


@audit.command("list")
@_TENANT
@click.option("--policy")
@click.option("--verdict")
@click.option("--mode")
@click.option("--find", "q", help="In texts, conversations and request ids.")
@click.option("--limit", default=20, show_default=True, type=click.IntRange(1, 10_000))
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@_files
def list_(limit: int, as_json: bool, policies: Path, objectives: Path, url: str | None, **filters: str | None) -> None:
    """The newest answers, one a line."""
    config = read(policies, objectives, keys=False)
    wanted = Wanted(**{name: value for name, value in filters.items() if value}, limit=limit)  # type: ignore[arg-type]
    rows = _with_store(config, url, lambda store: store.search(wanted))
    if as_json:
        for row in rows:
            click.echo(_json(row))
        return
    table = Table(box=None)
    for name in ("id", "time", "tenant", "policy", "verdict", "reason", "changed", "ms", "texts"):
        table.add_column(name, no_wrap=True)
    for row in rows:
        changed = "" if row["changed"] is None else f"{row['changed']:.0%}"
        verdict = f"{row['verdict']} (shadow)" if row["mode"] == "shadow" else row["verdict"]
        table.add_row(
            str(row["id"]), f"{row['time']:%Y-%m-%d %H:%M:%S}", row["tenant"], row["policy"], verdict,
            row["reason"] if row["error"] is None else row["error"], changed, f"{row['total_ms'] or 0:.0f}",
            "yes" if row["texts"] else "",
        )  # fmt: skip
    Console(width=None if sys.stdout.isatty() else 200).print(table)


@audit.command()
@click.argument("which")
@_files
def show(which: str, policies: Path, objectives: Path, url: str | None) -> None:
    """One answer whole, by its number or its request's id; what was changed as `[-out-]{+in+}`."""

    async def find(store: Store) -> dict[str, Any] | None:
        id_ = await store.newest(which)
        if id_ is None and which.isdecimal() and len(which) < 19:  # no more digits than a 64-bit number surely has
            id_ = int(which)
        return None if id_ is None else await store.get(id_)

    row = _with_store(read(policies, objectives, keys=False), url, find)
    if row is None:
        raise click.ClickException(f"no answer {which!r} is kept")
    choices, turns, judged = row.pop("choices"), row.pop("context") or [], row.pop("feedback")
    for name, value in row.items():
        if value is not None:
            click.echo(f"{name:20}{value if isinstance(value, str | int | float | datetime) else _json(value)}")
    for turn in turns:
        click.echo(_plain(f"\n[{turn['role']}] {turn['text']}"))
    for choice in choices:
        click.echo(f"\n[{choice['verdict']}: {choice['reason']}]")
        click.echo(_plain(_marked(choice["draft"], choice["correction"])))
    for one in judged:
        told = f"\n{one['time']:%Y-%m-%d %H:%M} {one['by']} prefers: {one['choice']}  {one['comment'] or ''}"
        click.echo(_plain(told))


@audit.command()
@_TENANT
@click.option(
    "--older-than", "days", type=click.IntRange(0, 36500), help="Days; default: as each tenant's retention_days."
)
@_files
def purge(tenant: str | None, days: int | None, policies: Path, objectives: Path, url: str | None) -> None:
    """Delete old answers, with their texts and feedback. `--older-than 0` deletes all."""
    config = read(policies, objectives, keys=False)
    tenants = dict(config.objectives.tenants)

    async def clean(store: Store) -> int:
        if days is not None:
            return await store.purge(timedelta(days=days), tenant)
        if tenant is not None:
            kept = (
                tenants[tenant].retention_days if tenant in tenants else Tenant.model_fields["retention_days"].default
            )
            return await store.purge(timedelta(days=kept), tenant)
        return await expired(store, tenants, named=url is None and config.server.audit.named)

    click.echo(f"{_with_store(config, url, clean)} answers deleted")


@audit.command()
@_TENANT
@click.option("--pairs", "as_pairs", is_flag=True, help="Training rows for `metaaligner train prepare pairs=FILE`.")
@click.option(
    "--output", type=click.Path(path_type=Path, dir_okay=False, allow_dash=True), default=Path("-"), show_default=True,
    help="A file that is there is replaced, also where there is nothing to export.",
)  # fmt: skip
@_files
def export(tenant: str | None, as_pairs: bool, output: Path, policies: Path, objectives: Path, url: str | None) -> None:
    """Whole answers as JSON Lines; with --pairs what people preferred, of tenants that consent (`training: true`)."""
    config = read(policies, objectives, keys=False)
    consenting = {name for name, one in config.objectives.tenants.items() if one.training}
    told: Counter[str] = Counter()

    async def write(store: Store) -> None:
        async with aclosing(store.each(Wanted(tenant=tenant), judged=as_pairs)) as rows:
            with _replacing(output) as file:
                async for row in rows:
                    if not as_pairs:
                        file.write(_json(row) + "\n")
                        told["answers"] += 1
                    elif row["tenant"] not in consenting:
                        told["left out: no consent"] += 1
                    else:
                        made = list(pairs.pairs_of(row))
                        for pair in made:
                            file.write(_json(pair) + "\n")
                        told["pairs" if made else "left out: no texts, or nothing preferred"] += len(made) or 1

    _with_store(config, url, write)
    click.echo(", ".join(f"{count} {what}" for what, count in told.items()) or "nothing", err=True)


@contextmanager
def _replacing(output: Path) -> Iterator[TextIO]:
    """A new file that takes the place of what is there once it is whole, and that nobody else may read.

    What the one before it held may since be deleted, or its tenant's consent withdrawn: nothing of it stays. A
    terminal, a pipe and the like are written to as they are.
    """
    how: dict[str, Any] = {"encoding": "utf-8", "errors": "backslashreplace"}
    if str(output) == "-" or (output.exists() and not output.is_file()):
        with click.open_file(str(output), "w", **how) as stream:
            yield stream  # type: ignore[misc]  # click calls it an IO[Any]
            stream.flush()
        return
    target = output.resolve()  # a link stays one
    descriptor, name = tempfile.mkstemp(prefix=f".{target.name}.", dir=target.parent)
    try:
        with open(descriptor, "w", **how) as file:
            yield file
        os.replace(name, target)
    except BaseException:
        os.unlink(name)
        raise


def _with_store(config: Config, url: str | None, work: Callable[[Store], Awaitable[Told]]) -> Told:
    async def run() -> Told:
        try:
            told = checked(url) if url else config.server.audit.location()
            file = told.removeprefix("sqlite:///")
            if file != told and not Path(file).is_file():
                raise ValueError(f"there is no file {file}")
            store = Store(told)
        except ModuleNotFoundError as error:
            raise click.ClickException(
                f"{error.name} is missing: .venv/bin/pip install -c constraints.txt -e '.[postgres]'"
            ) from None
        except (ValueError, SQLAlchemyError) as error:
            raise click.ClickException(f"no such trail: {error}") from None
        try:
            try:
                await store.open()
            except OSError as error:  # of what comes later, it may be the output that is full, or closed
                raise click.ClickException(f"the trail cannot be reached: {error}") from None
            return await work(store)
        except (SQLAlchemyError, CommandError, TypeError) as error:
            raise click.ClickException(f"the trail cannot be read: {getattr(error, 'orig', None) or error}") from None
        finally:
            await store.aclose()

    return asyncio.run(run())


def _marked(draft: str, correction: str | None) -> str:
    if correction is None:
        return draft
    marks = {"=": "{}", "-": "[-{}-]", "+": "{{+{}+}}"}
    return "".join(marks[kind].format(words) for kind, words in worddiff.diff(draft, correction))


def _plain(text: str) -> str:
    """Without what a terminal would obey: the words are a model's, or anybody's."""
    return re.sub(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]", "\N{REPLACEMENT CHARACTER}", text)


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, default=lambda one: one.isoformat())
