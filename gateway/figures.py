"""The gateway's own metrics as plain figures, for the console. Counters only grow; rates are the reader's to draw."""

import time
from collections import Counter
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from gateway.telemetry import Metrics

_LATENCY = {
    f"metaaligner_{name}_seconds": told
    for name, told in (
        ("policy_ttft", "policy_ttft"), ("policy", "policy"), ("corrector_queue", "corrector_queue"),
        ("corrector_ttft", "corrector_ttft"), ("corrector", "corrector"), ("overhead", "overhead"),
    )
}  # fmt: skip


def figures(metrics: Metrics) -> dict[str, Any]:
    """Requests by verdict and by status, latencies as cumulative buckets, all labels but these summed up."""
    sums: dict[str, Counter[str]] = {name: Counter() for name in ("verdicts", "statuses", "shadow", "reloads", "audit")}
    counted = {
        "metaaligner_requests_total": (("verdict", "verdicts"), ("status", "statuses")),
        "metaaligner_shadow_total": (("verdict", "shadow"),),
        "metaaligner_reloads_total": (("result", "reloads"),),
        "metaaligner_audit_rows_total": (("result", "audit"),),
    }
    in_flight = 0.0
    latency: dict[str, Any] = {name: {"count": 0, "sum": 0.0, "buckets": Counter()} for name in _LATENCY.values()}
    for family in text_string_to_metric_families(metrics.exposition().decode()):
        for sample in family.samples:
            for label, name in counted.get(sample.name, ()):
                sums[name][sample.labels[label]] += int(sample.value)
            if sample.name == "metaaligner_in_flight":
                in_flight += sample.value
            if family.name in _LATENCY:
                phase = latency[_LATENCY[family.name]]
                match sample.name.removeprefix(family.name):
                    case "_bucket":
                        phase["buckets"][sample.labels["le"]] += int(sample.value)
                    case "_sum":
                        phase["sum"] += sample.value
                    case "_count":
                        phase["count"] += int(sample.value)
    for phase in latency.values():
        phase["buckets"] = sorted(([_bound(le), n] for le, n in phase["buckets"].items()), key=_by_bound)
    told = {name: {key: n for key, n in counter.items() if key != "-"} for name, counter in sums.items()}
    return {
        "time": time.time(),
        "requests": sum(sums["statuses"].values()),
        "in_flight": int(in_flight),
        "latency": latency,
        **told,
        "reloads": {result: sums["reloads"][result] for result in ("applied", "rejected")},
        "audit": {result: sums["audit"][result] for result in ("written", "dropped")},
    }


def _bound(le: str) -> float | None:
    """JSON knows no infinity."""
    return None if le == "+Inf" else float(le)


def _by_bound(bucket: list[Any]) -> float:
    return float("inf") if bucket[0] is None else float(bucket[0])
