"""What a policy model answers to the queries of a data set: drafts to train a corrector on, or to judge it by.

Knows one endpoint. Rows are those of `policy_answers`: `dataset, policy, query, golden, answer`, and a `licence`.
"""

from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import yaml

from train.harm import Refusals, digest, topics_read
from train.progress import in_order
from train.readers import conversation
from train.rows import HARMLESS
from wire.codec import dumps, loads
from wire.endpoint import Endpoint
from wire.errors import Malformed

MAX_TOKENS = 320


def questions(rows: Iterable[dict[str, Any]], longest: int, sources: Sequence[str] = ()) -> list[dict[str, Any]]:
    """Of pairs or of policy answers, each query once, with its golden answer where there is one."""
    found: dict[str, dict[str, Any]] = {}
    for row in rows:
        source, query = row.get("dataset") or row.get("source"), row.get("query") or ""
        if query.strip() and len(query) <= longest and (not sources or source in sources):
            golden = row.get("golden") or row.get("strong") or ""
            found.setdefault(query, {"dataset": source, "query": query, "golden": golden})
    return list(found.values())


def requested(path: Path, refusals: Refusals) -> list[dict[str, Any]]:
    """Requests such as `requests.yaml` has, as queries. What is harmful has a refusal for a golden answer."""
    told = yaml.safe_load(path.read_text(encoding="utf-8"))
    found = [_request(HARMLESS, query, refusals) for query in told[HARMLESS]]
    return found + [_request(topic, query, refusals) for topic in told["harmful"] for query in told["harmful"][topic]]


def read(path: Path, asked: Iterable[dict[str, Any]], refusals: Refusals) -> list[dict[str, Any]]:
    """Of these questions those that somebody has read, as `read.yaml` says, as `requested` gives them."""
    topics = topics_read(path)
    known = ((one["query"], topics.get(digest(one["query"]))) for one in asked)
    return [_request(topic, query, refusals) for query, topic in known if topic]


def _request(topic: str, query: str, refusals: Refusals) -> dict[str, Any]:
    golden = "" if topic == HARMLESS else refusals.golden(query, topic)
    return {"dataset": f"requests:{topic}", "query": query, "golden": golden}


async def run(
    todo: Sequence[dict[str, Any]],
    endpoint: Endpoint,
    model: str,
    licence: str,
    weights: Sequence[str | None],
    out: Path,
    in_flight: int,
    progress: Callable[[], None],
) -> None:
    """Ask every question as a chat client would, who names nothing but a seed; what `out` has is not asked again.

    `weights`: what tells this model from another of the same name.
    """

    async def one(question: dict[str, Any]) -> dict[str, Any]:
        messages = [{"role": turn.role, "content": turn.text} for turn in conversation(question["query"])]
        body = {"model": model, "messages": messages, "max_tokens": MAX_TOKENS, "seed": 1}
        opened = await endpoint.post("/chat/completions", dumps(body))
        try:
            answer = loads(await opened.read())
            text = answer["choices"][0]["message"]["content"]
        except (ValueError, KeyError, IndexError, TypeError):
            raise Malformed(f"{endpoint.name} did not answer as a chat model does") from None
        finally:
            opened.close()
        return {**question, "policy": model, "licence": licence, "answer": text}

    settings = [model, MAX_TOKENS, licence, weights]
    async for _ in in_order(todo, one, out, in_flight, lambda question: [question, *settings]):
        progress()
