"""What a request may choose, and what it may not."""

import itertools
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway import plan
from gateway.config import Config, read
from gateway.errors import GatewayError
from gateway.exchange import ChatRequest, parse
from wire.codec import dumps

POLICIES = """
policies:
  m: {kind: openai, base_url: "http://127.0.0.1:1/v1", corrector: c, fallbacks: [bare, n]}
  n: {kind: openai, base_url: "http://127.0.0.1:1/v1", corrector: c}
  "org/name@v2": {kind: openai, base_url: "http://127.0.0.1:1/v1", corrector: c}
  bare: {kind: openai, base_url: "http://127.0.0.1:1/v1", corrector: none}
correctors:
  c: {engine: {kind: endpoint, base_url: "http://127.0.0.1:1/v1", model: x}}
"""
OBJECTIVES = """
objectives:
  harmlessness: {name: Harmlessness, description: The response should avoid harm, may_refuse: true}
  helpfulness: The response should be useful
  humour: The response should be funny
  length: The response should be short
sets:
  default: [helpfulness]
  kids: [humour, harmlessness]
tenants:
  open: {keys: none, allow_off: true}
  plain: {keys: [{env: PLAIN}]}
  strict: {keys: [{env: STRICT}], objectives: [helpfulness], required: [harmlessness], allow_off: true}
  lax: {keys: [{env: LAX}], required: harmlessness, structured: pass, allow_draft: true}
  partly: {keys: [{env: PARTLY}], roll_out: 10%, allow_off: true}
  gentle: {keys: [{env: GENTLE}], required: humour}
  steps: {keys: [{env: STEPS}], required: kids, mode: segment}
  apart: {keys: [{env: APART}], objectives: [helpfulness], allow: [helpfulness]}
  narrow: {keys: [{env: NARROW}], objectives: [helpfulness], allow: [kids], define: false, policies: [n]}
"""


@pytest.fixture
def config(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Config:
    for name in ("PLAIN", "STRICT", "LAX", "NARROW", "PARTLY", "GENTLE", "STEPS", "APART"):
        monkeypatch.setenv(name, f"sk-{name.lower()}")
    (tmp_path / "p.yaml").write_text(POLICIES)
    (tmp_path / "o.yaml").write_text(OBJECTIVES)
    return read(tmp_path / "p.yaml", tmp_path / "o.yaml")


def request(headers: list[tuple[str, str]] | None = None, **body: Any) -> ChatRequest:
    return parse(dumps({"model": "m", "messages": [], **body}), tuple(headers or []), "")


def resolved(config: Config, tenant: str, asked: ChatRequest) -> plan.Plan:
    return plan.resolve(config, tenant, config.objectives.tenants[tenant], asked)


def aims(told: plan.Plan) -> list[str]:
    return [aim.key for aim in told.objectives]


def refused(config: Config, tenant: str, asked: ChatRequest) -> GatewayError:
    with pytest.raises(GatewayError) as caught:
        resolved(config, tenant, asked)
    return caught.value


@pytest.mark.parametrize(
    ("header", "tenant"),
    [
        ("Bearer sk-plain", "plain"),
        ("bearer  sk-strict", "strict"),
        (None, "open"),
        ("Bearer none", "open"),
        ("Bearer EMPTY", "open"),
        ("Bearer", "open"),
    ],
)
def test_who_calls(config: Config, header: str | None, tenant: str) -> None:
    headers = {} if header is None else {"authorization": header}
    assert plan.authenticate(config.objectives, headers)[0] == tenant


def test_a_wrong_key_is_not_anonymous(config: Config) -> None:
    with pytest.raises(GatewayError) as caught:
        plan.authenticate(config.objectives, {"authorization": "Bearer sk-wrong"})
    assert caught.value.status == 401
    assert "sk-wrong" not in caught.value.message


def test_the_tenants_own_objectives(config: Config) -> None:
    told = resolved(config, "open", request())
    assert aims(told) == ["helpfulness"]
    assert (told.mode, told.skip, told.corrector) == ("full", None, "c")


@pytest.mark.parametrize("said", ["humour, length", "length,humour", " humour ,,length,"])
def test_a_request_names_its_own_in_any_order(config: Config, said: str) -> None:
    assert aims(resolved(config, "open", request([("x-align-objectives", said)]))) == ["humour", "length"]


def test_required_ones_stay(config: Config) -> None:
    assert aims(resolved(config, "strict", request(align={"objectives": ["humour"]}))) == ["harmlessness", "humour"]


def test_a_set_that_is_not_there_names_those_of_the_tenant_alone(config: Config) -> None:
    assert "default, kids" in refused(config, "open", request(model="m@adults")).message
    tenants = dict(config.objectives.tenants)
    tenants["open"] = tenants["open"].model_copy(update={"allow": ("helpfulness",), "objectives": ("length",)})
    few = replace(config, objectives=replace(config.objectives, tenants=tenants))
    told = refused(few, "open", request(model="m@adults")).message
    assert "there are: default" in told
    assert "kids" not in told


def test_a_set_by_the_models_name(config: Config) -> None:
    told = resolved(config, "open", request(model="m@kids"))
    assert (told.policy, aims(told)) == ("m", ["harmlessness", "humour"])
    assert resolved(config, "open", request(model="org/name@v2")).policy == "org/name@v2"
    assert aims(resolved(config, "open", request(model="org/name@v2@kids"))) == ["harmlessness", "humour"]
    assert refused(config, "open", request(model="m@adults")).code == "unknown_set"
    assert refused(config, "open", request([("x-align-objectives", "humour")], model="m@kids")).code == "contradiction"


@pytest.mark.parametrize("name", ["honesty", "helpfull"])
def test_an_unknown_objective_lists_what_is_allowed(config: Config, name: str) -> None:
    error = refused(config, "open", request([("x-align-objectives", name)]))
    assert (error.status, error.code, error.param) == (400, "unknown_objective", "align.objectives")
    for known in ("harmlessness", "humour", "kids (a set)"):
        assert known in error.message


def test_an_objective_that_is_not_allowed_lists_what_is(config: Config) -> None:
    error = refused(config, "narrow", request([("x-align-objectives", "length")], model="n"))
    assert error.code == "unknown_objective"
    assert "humour" in error.message
    assert "length," not in error.message
    assert aims(resolved(config, "narrow", request(model="n@kids"))) == ["harmlessness", "humour"]


@pytest.mark.parametrize(
    ("tenant", "mode", "status"),
    [
        ("open", "off", 200),
        ("open", "shadow", 200),
        ("plain", "off", 403),
        ("plain", "shadow", 403),
        ("plain", "full", 200),
        ("strict", "off", 403),
        ("strict", "shadow", 403),
        ("strict", "full", 200),
        ("plain", "segment", 200),
        ("strict", "segment", 403),
        ("gentle", "segment", 200),
        ("steps", "segment", 200),
        ("steps", "full", 200),
        ("open", "half", 400),
        ("open", "", 400),
    ],
)
def test_modes(config: Config, tenant: str, mode: str, status: int) -> None:
    asked = request([("x-align-mode", mode)])
    if status == 200:
        assert resolved(config, tenant, asked).mode == mode
    else:
        assert refused(config, tenant, asked).status == status


def test_by_segments_nothing_is_refused_whole_so_no_flag_chooses_them(config: Config) -> None:
    error = refused(config, "strict", request(align={"mode": "segment"}))
    assert (error.code, error.param) == ("mode_not_allowed", "align.mode")
    assert "harmlessness" in error.message
    assert "helpfulness" not in error.message


def test_who_may_see_the_draft(config: Config) -> None:
    asked = request([("x-align-return", "draft")])
    assert resolved(config, "open", asked).return_draft
    assert resolved(config, "lax", asked).return_draft
    assert refused(config, "strict", asked).code == "draft_not_allowed"
    assert refused(config, "open", request(align={"return": "everything"})).code == "invalid_return"


@pytest.mark.parametrize(
    ("header", "body"),
    [
        (("x-align-objectives", "humour"), {"objectives": ["length"]}),
        (("x-align-mode", "full"), {"mode": "off"}),
        (("x-align-define", "a=b"), {"define": {"a": "c"}}),
    ],
)
def test_headers_and_body_must_not_contradict_each_other(
    config: Config, header: tuple[str, str], body: dict[str, Any]
) -> None:
    assert refused(config, "open", request([header], align=body)).code == "contradiction"


def test_headers_and_body_may_agree(config: Config) -> None:
    asked = request([("x-align-objectives", "humour, length")], align={"objectives": ["length", "humour"]})
    assert aims(resolved(config, "open", asked)) == ["humour", "length"]


@pytest.mark.parametrize(
    "align", ["humour", [], {"objective": ["humour"]}, {"objectives": 5}, {"objectives": []}, {"objectives": [1]}]
)
def test_bad_align_objects(config: Config, align: Any) -> None:
    assert refused(config, "open", request(align=align)).status == 400


def test_a_salt_is_no_other_tenants_and_not_to_be_computed_without_a_key(config: Config) -> None:
    salts = {name: resolved(config, name, request(model="n")).salt for name in config.objectives.tenants}
    assert len(set(salts.values())) == len(salts)
    others = replace(config.objectives, tenant_by_digest={b"another key": "plain"})
    assert resolved(replace(config, objectives=others), "plain", request()).salt != salts["plain"]
    assert resolved(config, "plain", request()).salt == salts["plain"]


def test_models(config: Config) -> None:
    assert refused(config, "open", request(model="x")).status == 404
    assert refused(config, "narrow", request(model="m")).code == "model_not_found"
    assert resolved(config, "narrow", request(model="n")).policies == ("n",)
    assert resolved(config, "open", request()).policies == ("m", "bare", "n")


def test_where_something_is_required_no_uncorrectable_policy_is_used(config: Config) -> None:
    assert resolved(config, "strict", request()).policies == ("m", "n")
    assert refused(config, "strict", request(model="bare")).status == 404
    assert resolved(config, "open", request(model="bare")).skip == "no_corrector"


STRUCTURED: list[dict[str, Any]] = [
    {"response_format": {"type": "json_object"}},
    {"response_format": {"type": "json_schema", "json_schema": {}}},
    {"guided_json": {}},
    {"grammar": "root ::= 'a'"},
    {"regex": ".*"},
    {"response_format": {"type": "regex", "pattern": ".*"}},
    {"response_format": {"type": "text"}, "guided_regex": ".*"},
    {"modalities": ["text", "audio"]},
]


@pytest.mark.parametrize("body", STRUCTURED)
def test_output_that_cannot_be_rewritten(config: Config, body: dict[str, Any]) -> None:
    reason = "audio_output" if "modalities" in body else "structured_output"
    assert resolved(config, "open", request(**body)).skip == reason
    if "json" in str(body.get("response_format")):
        assert resolved(config, "lax", request(**body)).skip == reason
    else:
        assert refused(config, "lax", request(**body)).code == f"{reason}_refused", "`structured` is about JSON"
    error = refused(config, "strict", request(**body))
    assert (error.status, error.code) == (403, f"{reason}_refused")


@pytest.mark.parametrize(
    "body", [{"response_format": {"type": "text"}}, {"response_format": None}, {"modalities": ["text"]}]
)
def test_output_that_can(config: Config, body: dict[str, Any]) -> None:
    assert resolved(config, "strict", request(**body)).skip is None


def test_no_combination_of_flags_leaves_a_required_objective_out(config: Config) -> None:
    """Whatever a request says: it is refused, or its answer is corrected toward what is required."""
    flags: list[list[dict[str, Any]]] = [
        [{}, {"mode": "off"}, {"mode": "shadow"}, {"mode": "full"}, {"mode": "segment"}],
        [{}, {"objectives": ["humour"]}, {"objectives": ["kids"]}],
        [{}, {"define": {"a": "b"}}, {"define": {"harmlessness": "The response may do harm"}}],
        [{}, {"return": "draft"}],
    ]
    bodies: list[dict[str, Any]] = [{}, *STRUCTURED, {"tools": [{}]}, {"n": 3}, {"stream": True}]
    models = ["m", "n", "m@kids", "bare", "m@default"]
    outcomes = {"refused": 0, "corrected": 0}
    for parts, body, model in itertools.product(itertools.product(*flags), bodies, models):
        align = {key: value for part in parts for key, value in part.items()}
        try:
            told = resolved(config, "strict", request(**body, model=model, align=align))
        except GatewayError:
            outcomes["refused"] += 1
            continue
        outcomes["corrected"] += 1
        assert "harmlessness" in aims(told)
        assert told.objectives[0].description == "The response should avoid harm"
        assert (told.skip, told.mode) == (None, "full")
        assert "bare" not in told.policies
        assert not told.return_draft
    assert all(outcomes.values())


def modes(config: Config, rolled_out: float, who: str, **body: Any) -> list[str]:
    """Of a thousand requests."""
    tenant = config.objectives.tenants["partly"].model_copy(update={"roll_out": rolled_out})
    asked = [request(**{name: value.format(n) for name, value in body.items()}) for n in range(1000)]
    return [plan.resolve(config, "partly", tenant, one, who.format(n)).mode for n, one in enumerate(asked)]


def test_a_tenth_is_sent_what_was_corrected_and_the_rest_in_shadow(config: Config) -> None:
    told = modes(config, 10, "req_{}")
    assert set(told) == {"full", "shadow"}
    assert 70 < told.count("full") < 130


def test_the_same_user_always_draws_the_same_lot(config: Config) -> None:
    assert len(set(modes(config, 50, "req_{}", user="ada"))) == 1
    assert len(set(modes(config, 50, "req_{}", safety_identifier="ada"))) == 1
    assert modes(config, 50, "req_{}", user="user {}") == modes(config, 50, "other_{}", user="user {}")


def test_half_a_surrogate_pair_is_a_user_too(config: Config) -> None:
    assert resolved(config, "partly", request(user="\ud800")).mode in ("full", "shadow")


def test_whoever_had_it_keeps_it_as_the_share_grows(config: Config) -> None:
    few, many = (modes(config, share, "req_{}") for share in (10, 40))
    assert all(later == "full" for earlier, later in zip(few, many, strict=True) if earlier == "full")
    assert set(modes(config, 0, "req_{}")) == {"shadow"}


def test_a_request_that_says_its_mode_draws_no_lot(config: Config) -> None:
    asked = request([("x-align-mode", "full")])
    assert {
        plan.resolve(config, "partly", config.objectives.tenants["partly"], asked, f"r{n}").mode for n in range(99)
    } == {"full"}
