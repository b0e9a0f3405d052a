"""/console/api/objectives, for admins: what is in force, what a change would do, and the change itself."""

import asyncio
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse
from starlette.routing import BaseRoute, Route

from corrector.correction import Task
from corrector.corrector import whole
from corrector.objectives import MAX_DESCRIPTION, MAX_OBJECTIVES, Objective, description_fault
from corrector.strictyaml import ConfigError
from corrector.templates import Turn
from gateway import editing, exchange, plan
from gateway.audit.search import Wanted
from gateway.errors import GatewayError
from gateway.snapshot import Snapshot
from gateway.surfaces.console import compared
from gateway.surfaces.console_admin import admitted
from gateway.surfaces.http import Context, answer, json_object
from wire import sse
from wire.errors import WireError

MAX_PREVIEWS = 10


@dataclass(frozen=True, slots=True)
class Given:
    """An answer that a change is tried on."""

    context: tuple[Turn, ...]
    draft: str
    before: dict[str, Any]
    objectives: tuple[Objective, ...]
    corrector: str
    time: str | None
    tenant: str | None


def routes(context: Context) -> list[BaseRoute]:
    async def objectives(request: Request) -> Response:
        snapshot = await context.reloader.current()
        return answer(request, await asyncio.to_thread(_in_force, snapshot, context))

    async def preview(request: Request) -> Response:
        body = await json_object(request, context, ("key", "description", "count", "tenant", "answers"))
        snapshot = await context.reloader.current()
        aim = _aim(snapshot, body)
        count = body.get("count", 3)
        if not isinstance(count, int) or not 1 <= count <= MAX_PREVIEWS:
            raise GatewayError(400, "invalid_request", f"`count` must be 1 to {MAX_PREVIEWS}", param="count")
        given = await _kept(context, snapshot, body.get("tenant"), count)
        given = given or _shown(snapshot, body.get("answers"))[:count]
        stream = _previews(snapshot, aim, given)
        return StreamingResponse(stream, media_type="text/event-stream", headers={"Cache-Control": "no-cache"})

    async def save(request: Request) -> Response:
        body = await json_object(request, context, ("description", "version", "dry_run"))
        snapshot = await context.reloader.current()
        aim = _aim(snapshot, {**body, "key": request.path_params["key"]})
        path, dry_run = context.reloader.objectives_path, bool(body.get("dry_run"))
        if not dry_run and (why := editing.why_not(path)):
            raise GatewayError(403, "read_only", why)
        change = (path, aim.key, aim.description, str(body.get("version")), context.reloader.check)
        try:
            edit = await asyncio.to_thread(editing.describe, *change, dry_run=dry_run)
        except editing.Changed:
            message = f"{path} was changed meanwhile: read it again before you save"
            if context.reloader.last_error is not None:
                message = f"{path} is not what is in force: {context.reloader.last_error}"
            raise GatewayError(409, "changed_meanwhile", message) from None
        except ConfigError as error:
            raise GatewayError(400, "invalid_objectives", str(error)) from None
        backup = str(edit.backup) if edit.backup is not None else None
        if backup is not None:
            context.log.info("objectives.saved", objective=aim.key, backup=backup)
        return answer(request, {"diff": edit.diff, "version": edit.version, "backup": backup})

    return [
        Route("/console/api/objectives", admitted(context, objectives)),
        Route("/console/api/objectives/preview", admitted(context, preview), methods=["POST"]),
        Route("/console/api/objectives/{key}", admitted(context, save), methods=["PUT"]),
    ]


def _in_force(snapshot: Snapshot, context: Context) -> dict[str, Any]:
    known = snapshot.config.objectives
    path = context.reloader.objectives_path
    why_not = editing.why_not(path)
    return {
        "path": str(path),
        "writable": why_not is None,
        "why_not": why_not,
        "version": editing.version(known.raw),  # of what is shown, which a file that was rejected is not
        "configuration": snapshot.config.digest,
        "objectives": [aim.model_dump() for aim in known.objectives.values()],
        "sets": {name: list(keys) for name, keys in known.sets.items()},
        "tenants": [
            {
                "name": name,
                "keys": "none" if tenant.keys == "none" else len(tenant.keys),
                "objectives": known.expand(tenant.objectives),
                "required": known.expand(tenant.required),
                "mode": tenant.mode,
                "audit": tenant.audit,
                "roll_out": tenant.roll_out,
            }
            for name, tenant in known.tenants.items()
        ],
    }


def _aim(snapshot: Snapshot, body: dict[str, Any]) -> Objective:
    """The objective as it would be. Raises `GatewayError` 400."""
    key, description = body.get("key"), body.get("description")
    if not isinstance(key, str) or not isinstance(description, str) or not description.strip():
        raise GatewayError(400, "invalid_objectives", "an objective has a key and a description", param="description")
    description = description.strip()
    if (wrong := description_fault(description, MAX_DESCRIPTION)) is not None:
        message = f"the description of {key!r} {wrong}"
        raise GatewayError(400, "invalid_objectives", message, param="description")
    known = snapshot.config.objectives.objectives.get(key)
    if known is not None:
        return known.model_copy(update={"description": description})
    return Objective(key=key, name=plan.title_of(key), description=description)


async def _kept(context: Context, snapshot: Snapshot, tenant: Any, count: int) -> list[Given]:
    """The last answers of the trail that have texts, the newest first."""
    if not any(one.audit == "full" for one in snapshot.config.objectives.tenants.values()):
        return []
    await context.trail.flush()
    named = tenant if isinstance(tenant, str) and tenant else None
    wanted = Wanted(tenant=named, correctors=tuple(snapshot.correctors), with_texts=True, limit=count)
    async with context.trail.reading() as store:
        rows = [await store.get(row["id"]) for row in await store.search(wanted)]
    known = snapshot.config.objectives.objectives
    return [_given(row, known) for row in rows if row is not None]


def _given(row: dict[str, Any], known: Mapping[str, Objective]) -> Given:
    """In the words that the objectives had then; what they allow the gate is not in a trail, and is as it is now."""
    text = row["choices"][0]
    told = row["descriptions"] or {}
    aims = tuple(
        (known.get(key) or Objective(key=key, name=name, description=said)).model_copy(
            update={"name": name, "description": said}
        )
        for key, (name, said) in told.items()
    )
    turns = tuple(Turn(turn["role"], turn["text"]) for turn in row["context"] or ())
    sent = text["correction"] if text["correction"] is not None else text["draft"]
    before = {"text": sent, "verdict": text["verdict"]}
    return Given(turns, text["draft"], before, aims, row["corrector"], row["time"].isoformat(), row["tenant"])


def _shown(snapshot: Snapshot, answers: Any) -> list[Given]:
    """What the page itself has seen, where nothing is kept."""
    found = []
    for one in answers if isinstance(answers, list) else []:
        known = isinstance(one, dict) and isinstance(one.get("draft"), str) and isinstance(one.get("messages"), list)
        policy = snapshot.config.policies.get(str(one.get("policy"))) if known else None
        if policy is None or policy.corrector not in snapshot.correctors:
            continue
        aims = snapshot.config.objectives.ordered(map(str, one.get("objectives") or ()))
        before = {"text": str(one.get("correction") or one["draft"]), "verdict": str(one.get("verdict"))}
        turns = exchange.conversation(one["messages"])
        found.append(Given(turns, one["draft"], before, aims, policy.corrector, None, None))
    return found


async def _previews(snapshot: Snapshot, aim: Objective, given: list[Given]) -> AsyncIterator[bytes]:
    """One event for each answer, as it is corrected."""
    if not given:
        yield sse.encode({"of": 0})
    for index, one in enumerate(given):
        task = Task(one.context, one.draft, _with(one.objectives, aim), keep_draft_on_failure=False)
        try:
            told = await whole(snapshot.correctors[one.corrector], task)
        except WireError as error:
            yield sse.encode(GatewayError(502, "corrector_unavailable", str(error)).as_object())
            break
        question = next((turn.text for turn in reversed(one.context) if turn.role == "user"), "")
        event = {
            "index": index,
            "of": len(given),
            "question": question,
            "time": one.time,
            "tenant": one.tenant,
            "draft": one.draft,
            "before": one.before,
            "after": {"text": told.text, "verdict": told.verdict, "reason": told.reason},
            **await compared(one.before["text"], told.text),
        }
        yield sse.encode(event)
    yield sse.DONE


def _with(objectives: tuple[Objective, ...], aim: Objective) -> tuple[Objective, ...]:
    """The answer's own objectives with this one in its place, or added."""
    if any(one.key == aim.key for one in objectives):
        return tuple(aim if one.key == aim.key else one for one in objectives)
    return (*objectives, aim)[-MAX_OBJECTIVES:]
