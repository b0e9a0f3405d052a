"""What of an upstream's error a client is told, in whichever form it came."""

import json
from typing import Any

import pytest

from gateway.errors import GatewayError, from_wire, passed_headers
from wire.codec import dumps
from wire.errors import Rejected, Reported

DRAFT = "The sky is blue because of the air."
FLAGGED = {
    "error": {
        "code": 403,
        "message": "Your input was flagged",
        "metadata": {"reasons": ["violence"], "flagged_input": "what he asked", "provider_name": "p"},
    }
}


def rejected(status: int, body: Any) -> Rejected:
    return Rejected(f"m answered {status}", status, {}, dumps(body))


def told(error: GatewayError, *, may_see_draft: bool = True) -> dict[str, Any]:
    """The error object that a client gets."""
    body = json.loads(error.body_for(may_see_draft))
    assert body["error"].keys() >= {"message", "type", "param", "code"}
    error_object: dict[str, Any] = body["error"]
    return error_object


@pytest.mark.parametrize(
    ("status", "body"),
    [
        (500, {"error": {"message": f"error parsing tool call: raw='{DRAFT}'", "type": "api_error", "param": None}}),
        (500, {"error": {"code": 500, "message": f"Failed to parse input at pos 3: {DRAFT}", "type": "server_error"}}),
        (503, {"error": {"message": "no", "type": [DRAFT], "param": {"x": DRAFT}, "code": [DRAFT]}}),
        (500, {"error": DRAFT}),
        (500, {"detail": DRAFT}),
        (500, [{"error": {"message": DRAFT}}]),
        (400, {"error": {"message": "no tool was called", "failed_generation": DRAFT, "code": {"said": DRAFT}}}),
    ],
)
def test_who_may_not_see_a_draft_sees_none_in_an_error(status: int, body: Any) -> None:
    error = from_wire(rejected(status, body))
    assert DRAFT in error.body_for(True).decode()
    hidden = told(error, may_see_draft=False)
    assert DRAFT not in json.dumps(hidden)
    assert hidden["message"] == ("no tool was called" if status == 400 else f"the policy answered {status}")


def test_nor_in_one_that_ends_a_stream() -> None:
    body = {"error": {"message": f"raw='{DRAFT}'", "type": "api_error", "param": [DRAFT], "code": 500}}
    error = from_wire(Reported("the policy reported an error in its stream", body))
    assert DRAFT in told(error)["message"]
    assert told(error, may_see_draft=False) == {
        "message": "the policy reported an error in its stream", "type": "api_error", "param": None, "code": 500,
    }  # fmt: skip


DETAIL = [
    {"type": "extra_forbidden", "loc": ["body", "max_completion_tokens"], "msg": "Extra inputs are not permitted",
     "input": "secret"},
    {"type": "missing", "loc": ["body", "messages", 0], "msg": "Field required", "input": "secret"},
]  # fmt: skip
BOTH = "body.max_completion_tokens: Extra inputs are not permitted; body.messages.0: Field required"


@pytest.mark.parametrize(
    ("status", "body", "message"),
    [
        (400, [{"error": {"code": 400, "message": "Invalid value", "status": "INVALID_ARGUMENT"}}], "Invalid value"),
        (422, {"object": "error", "message": {"detail": DETAIL}, "type": "invalid_request_error"}, BOTH),
        (422, {"detail": DETAIL}, BOTH),
        (422, {"detail": [{"msg": "no place"}]}, "no place"),
        (400, {"success": False, "errors": [{"code": 7003, "message": "No route"}], "messages": []}, "No route"),
        (400, {"error": {"message": {"error": "deep"}}}, "deep"),
        (404, {"object": "error", "message": "no such model", "code": 404}, "no such model"),
        (400, "text", "text"),
        (400, {"error": {"status": "no words"}}, "m answered 400"),
        (400, {"errors": 7}, "m answered 400"),
    ],
)
@pytest.mark.parametrize("may_see_draft", [True, False])
def test_the_reason_is_told_in_whichever_form_it_came(
    status: int, body: Any, message: str, may_see_draft: bool
) -> None:
    error = from_wire(rejected(status, body))
    assert told(error, may_see_draft=may_see_draft)["message"] == message
    assert "secret" not in error.body_for(may_see_draft).decode()


def test_a_form_without_end_is_not_followed() -> None:
    body = b'{"error":[' * 400 + b'"deep"' + b"]}" * 400
    assert told(from_wire(Rejected("m answered 400", 400, {}, body)))["message"] == "m answered 400"


@pytest.mark.parametrize(
    "body",
    [FLAGGED, {"error": {"message": "no", "code": "content_policy_violation"}},
     {"error": {"message": "no", "type": "content_filter"}}],
)  # fmt: skip
def test_a_403_for_what_was_said_is_the_clients(body: dict[str, Any]) -> None:
    error = rejected(403, body)
    assert error.of_the_request, "no fallback is asked, and no SDK asks again"
    answer = from_wire(error)
    assert (answer.status, told(answer)["message"]) == (403, body["error"]["message"])
    assert "flagged_input" not in told(answer, may_see_draft=False)


@pytest.mark.parametrize(
    ("status", "body"),
    [(403, {"error": {"message": "no", "code": "forbidden"}}), (403, "no"), (403, {"error": None}), (403, [FLAGGED]),
     (401, FLAGGED)],
)  # fmt: skip
def test_any_other_is_the_gateways_key(status: int, body: Any) -> None:
    error = rejected(status, body)
    assert not error.of_the_request
    assert (from_wire(error).status, from_wire(error).code) == (502, "upstream_authentication")


@pytest.mark.parametrize("body", [{"error": {"message": "no"}}, "no"])
def test_a_proxy_that_wants_a_password_is_the_gateways(body: Any) -> None:
    error = from_wire(rejected(407, body))
    assert (error.status, error.code) == (502, "upstream_authentication")


@pytest.mark.parametrize("status", [302, 600, 999])
def test_a_status_that_is_no_errors_is_not_passed_on(status: int) -> None:
    error = from_wire(rejected(status, {"error": {"message": "no"}}))
    assert (error.status, error.code) == (502, "upstream_unavailable")
    assert f"the policy answered {status}" in error.message


@pytest.mark.parametrize(
    ("told", "status"),
    [
        ({"code": 429}, 429), ({"code": "503"}, 503), ({"code": "rate_limited", "status": 429}, 429),
        ({"code": 200}, 502), ({"code": 600}, 502), ({"code": "4290"}, 502), ({"code": True}, 502), ({}, 502),
    ],
)  # fmt: skip
def test_an_error_that_came_with_a_200_has_the_status_that_it_names(told: dict[str, Any], status: int) -> None:
    body = {"error": {"message": "busy", **told}}
    error = from_wire(Reported("the policy reported an error", body))
    assert error.status == status
    assert json.loads(error.body)["error"] == {"type": None, "param": None, "code": None, **body["error"]}
    assert json.loads(error.body_for(False))["error"]["message"] == "the policy reported an error"


@pytest.mark.parametrize("code", [401, 403, "407"])
def test_or_502_where_it_is_about_the_gateways_key(code: Any) -> None:
    error = from_wire(Reported("the policy reported an error", {"error": {"message": "sk-secret", "code": code}}))
    assert (error.status, error.code) == (502, "upstream_authentication")
    assert "sk-secret" not in error.body.decode()
    assert from_wire(Reported("the policy reported an error", FLAGGED)).status == 403


FLAT = {"object": "error", "message": "too long", "type": "BadRequestError", "param": "messages", "code": 40303}


@pytest.mark.parametrize("may_see_draft", [True, False])
def test_an_error_outside_any_error_keeps_its_fields(may_see_draft: bool) -> None:
    kept = {name: FLAT[name] for name in ("message", "type", "param", "code")}
    assert told(from_wire(rejected(400, {**FLAT, "input": "secret"})), may_see_draft=may_see_draft) == kept
    hidden = told(from_wire(rejected(500, {**FLAT, "message": DRAFT})), may_see_draft=False)
    assert hidden == {**kept, "message": "the policy answered 500"}
    ours = told(from_wire(rejected(400, {"message": "too long"})), may_see_draft=may_see_draft)
    assert (ours["message"], ours["code"]) == ("too long", "upstream_error")


def test_whose_account_answers_is_not_told() -> None:
    headers = {"OpenAI-Organization": "acme", "openai-project": "p1", "openai-processing-ms": "7", "Set-Cookie": "x"}
    assert passed_headers(headers) == {"openai-processing-ms": "7"}
