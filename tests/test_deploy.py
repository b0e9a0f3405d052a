"""deploy/ asks for what the gateway really exposes: names of metrics, names of labels, and values of those."""

import json
import re
import shutil
import subprocess
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
import yaml
from prometheus_client.parser import text_string_to_metric_families

from corrector.correction import Verdict
from tests.conftest import ROOT, Gateway, correcting, saying, two_services
from tests.gateway.conftest import DRAFT, Serve, Start, improve, replying, soon

DEPLOY = ROOT / "deploy"
ALERTS = DEPLOY / "prometheus-alerts.yml"
PROMTOOL = shutil.which("promtool")
Exposed = dict[str, dict[str, set[str]]]  # metric -> label -> values


def rules() -> list[dict[str, Any]]:
    return [rule for group in yaml.safe_load(ALERTS.read_text())["groups"] for rule in group["rules"]]


def dashboard() -> dict[str, Any]:
    told: dict[str, Any] = json.loads((DEPLOY / "grafana-dashboard.json").read_text())
    return told


def targets() -> Iterator[dict[str, Any]]:
    for panel in dashboard()["panels"]:
        yield from panel.get("targets", ())


@pytest.fixture
async def exposed(service: Start, gateway: Serve, tmp_path: Path) -> Exposed:
    """By a gateway that has corrected, failed, refused, relayed and reloaded."""
    policy, corrector = await service(saying(DRAFT)), await service(correcting(improve))
    audit = f'{{url: "sqlite:///{tmp_path}/audit.db"}}'
    policies = two_services(policy, corrector, audit=audit)
    gw = await gateway(policies, OBJECTIVES)
    for mode in ("full", "segment", "shadow", "off"):
        await gw.chat({"X-Align-Mode": mode})
        await gw.stream({"X-Align-Mode": mode})
    corrector.handler = replying({}, 500)
    await gw.chat()
    policy.handler = replying({}, 500)
    await gw.chat()
    await gw.chat(model="nothing")
    gw.policies.write_text("policies: {")
    await gw.chat()
    gw.policies.write_text(policies + "\n# saved\n")
    await gw.chat()
    await soon(
        lambda: (
            [line["event"] for line in gw.lines if "reload" in line["event"]] == ["reload.rejected", "reload.applied"]
        )
    )
    return await scraped(gw)


OBJECTIVES = """
objectives:
  helpfulness: The response should provide useful resources and suggestions to the user
sets:
  default: [helpfulness]
tenants:
  public: {keys: none, objectives: default, allow_off: true, audit: metadata}
"""


async def scraped(gw: Gateway) -> Exposed:
    async with gw.client.get(f"{gw.url}/metrics") as response:
        text = await response.text()
    found: Exposed = defaultdict(lambda: defaultdict(set))
    for family in text_string_to_metric_families(text):
        for sample in family.samples:
            for label, value in sample.labels.items():
                found[sample.name][label].add(value)
            found[sample.name].setdefault("", set())
    return found


def test_reading_an_expression() -> None:
    """What the tests below rely on."""
    assert list(selectors('sum by (a) (rate(metaaligner_x{a="1",b=~"2|3"}[5m])) / metaaligner_y')) == [
        ("metaaligner_x", [("a", "=", "1"), ("b", "=~", "2|3")]),
        ("metaaligner_y", []),
    ]
    assert grouped("sum by (a, b) (x) / on () group_left () sum(y)") == {"a", "b"}


def selectors(expression: str) -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
    for found in re.finditer(r"\b(metaaligner_\w+|up)\b(?:\{([^}]*)\})?", expression):
        yield found[1], re.findall(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"', found[2] or "")


def grouped(expression: str) -> set[str]:
    lists = re.findall(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)", expression)
    return {label.strip() for labels in lists for label in labels.split(",") if label.strip()}


def hold(expression: str, exposed: Exposed) -> None:
    """The expression against what is exposed. `up` is Prometheus's own."""
    asked = list(selectors(expression))
    assert asked, expression
    labels: set[str] = set()
    for metric, matchers in asked:
        if metric == "up":
            assert matchers == [("job", "=", job())]
            continue
        assert metric in exposed, f"{metric} is not exposed"
        labels |= set(exposed[metric])
        for label, _, value in matchers:
            assert label in exposed[metric], f"{metric} has no label {label}"
            if label == "verdict":
                assert set(value.split("|")) <= set(get_args(Verdict))
            if label == "result":
                assert set(value.split("|")) <= exposed[metric][label]
    assert grouped(expression) <= labels, expression


def job() -> str:
    [scrape] = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())["scrape_configs"]
    return str(scrape["job_name"])


async def test_the_alerts_ask_for_what_is_exposed(exposed: Exposed) -> None:
    assert {rule["alert"] for rule in rules()} == {
        "GatewayDown", "CorrectorFailing", "PolicyFailing", "OverheadHigh", "ReloadRejected", "AuditRowsDropped",
    }  # fmt: skip
    for rule in rules():
        hold(rule["expr"], exposed)
        told = set(re.findall(r"\$labels\.(\w+)", json.dumps(rule["annotations"])))
        assert told <= grouped(rule["expr"]) | {"instance"}


async def test_the_dashboard_asks_for_what_is_exposed(exposed: Exposed) -> None:
    expressions = [target["expr"] for target in targets()]
    for target in targets():
        hold(target["expr"], exposed)
        assert set(re.findall(r"\{\{(\w+)\}\}", target["legendFormat"])) <= grouped(target["expr"])
    for variable in dashboard()["templating"]["list"]:
        if variable["type"] == "query":
            [(metric, label)] = re.findall(r"label_values\((\w+), (\w+)\)", variable["definition"])
            assert label in exposed[metric]
    shown = {metric.removesuffix("_bucket") for expression in expressions for metric, _ in selectors(expression)}
    samples = [name for name in exposed if name.startswith("metaaligner_") and not name.endswith("_created")]
    ours = {re.sub("_(bucket|sum|count)$", "", name) for name in samples}
    assert shown == ours, "every metric of the gateway is on the dashboard"


def test_the_dashboards_variables_and_panels() -> None:
    told = dashboard()
    known = {variable["name"] for variable in told["templating"]["list"]} | {"__rate_interval"}
    assert set(re.findall(r"\$\{?(\w+)", json.dumps(told["panels"]))) <= known
    ids = [panel["id"] for panel in told["panels"]]
    assert len(set(ids)) == len(ids)
    places = [(panel["gridPos"]["y"], panel["gridPos"]["x"]) for panel in told["panels"]]
    assert len(set(places)) == len(places)


def test_of_a_save_that_was_rejected_no_page_is_named_that_does_not_say_why() -> None:
    """/readyz says that it was, to anybody; what is wrong with it stands in the log."""
    [rule] = [rule for rule in rules() if rule["alert"] == "ReloadRejected"]
    [panel] = [panel for panel in dashboard()["panels"] if panel["title"] == "Reloads"]
    for told in (rule["annotations"]["description"], panel["description"]):
        assert "/readyz" not in told
        assert "the log" in told


def test_the_example_finds_its_rules() -> None:
    [named] = yaml.safe_load((DEPLOY / "prometheus.yml").read_text())["rule_files"]
    assert (DEPLOY / named).samefile(ALERTS)


# What makes each alert fire, a sample a minute; `+ x n` is n more, each x higher.
FIRING = {
    "GatewayDown": {'up{job="metaaligner",instance="one"}': "0x30"},
    "CorrectorFailing": {
        'metaaligner_requests_total{policy="m",verdict="failed",status="200"}': "0+6x30",
        'metaaligner_requests_total{policy="m",verdict="corrected",status="200"}': "0+60x30",
    },
    "PolicyFailing": {
        'metaaligner_requests_total{policy="m",verdict="-",status="502"}': "0+6x30",
        'metaaligner_requests_total{policy="m",verdict="corrected",status="200"}': "0+60x30",
    },
    "OverheadHigh": {
        'metaaligner_overhead_seconds_bucket{le="0.1"}': "0+90x30",
        'metaaligner_overhead_seconds_bucket{le="0.5"}': "0+100x30",
        'metaaligner_overhead_seconds_bucket{le="+Inf"}': "0+100x30",
    },
    "ReloadRejected": {"metaaligner_configuration_rejected": "0x25 1x5"},
    "AuditRowsDropped": {'metaaligner_audit_rows_total{result="dropped"}': "0x25 7x5"},
}


with_promtool = pytest.mark.skipif(PROMTOOL is None, reason="promtool, of Debian's `prometheus`, is not on the PATH")


def promtool(*arguments: str | Path) -> None:
    assert PROMTOOL is not None
    ran = subprocess.run([PROMTOOL, *arguments], capture_output=True, text=True)
    assert ran.returncode == 0, ran.stdout + ran.stderr


@with_promtool
def test_prometheus_takes_rules_and_example() -> None:
    promtool("check", "rules", ALERTS)
    promtool("check", "config", DEPLOY / "prometheus.yml")


@with_promtool
def test_each_alert_fires_when_it_should_and_not_else(tmp_path: Path) -> None:
    tests = []
    for cause, series in FIRING.items():
        given = {'up{job="metaaligner",instance="one"}': "1x30", **series}
        expected = [
            {
                "expr": f"count({rule['expr']})",
                "eval_time": "30m",
                "exp_samples": [{"labels": "{}", "value": 1}] if rule["alert"] == cause else [],
            }
            for rule in rules()
        ]
        samples = [{"series": name, "values": values} for name, values in given.items()]
        tests.append({"interval": "1m", "input_series": samples, "promql_expr_test": expected})
    path = tmp_path / "tests.yml"
    path.write_text(yaml.safe_dump({"rule_files": [str(ALERTS)], "tests": tests}))
    promtool("test", "rules", path)
