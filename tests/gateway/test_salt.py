"""Prefixes that an engine keeps are one tenant's own: vLLM's `cache_salt`, for policies and correctors alike."""

import pytest

from tests.conftest import correcting, saying
from tests.gateway.conftest import DRAFT, Serve, Start, improve

OBJECTIVES = """
objectives:
  helpfulness: The response should provide useful resources and suggestions to the user
tenants:
  public: {keys: none, objectives: [helpfulness]}
  other: {keys: [{env: OTHER_KEY}], objectives: [helpfulness]}
"""


@pytest.fixture(autouse=True)
def _key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OTHER_KEY", "other")


async def salts(service: Start, gateway: Serve, salted: str) -> list[list[str | None]]:
    """What the policy's and the corrector's engine were given: for one tenant twice, then for another."""
    policy, corrector = await service(saying(DRAFT)), await service(correcting(improve))
    gw = await gateway(
        f"""
policies:
  m: {{kind: local, corrector: c, engine: {{kind: endpoint, base_url: "{policy.url}", model: p, {salted}}}}}
correctors:
  c:
    engine: {{kind: endpoint, base_url: "{corrector.url}", model: x, {salted}}}
    prefill_ahead: 4
""",
        OBJECTIVES,
    )
    for headers in ({}, {}, {"Authorization": "Bearer other"}):
        status, _, answer = await gw.chat(headers, cache_salt="of the client's own")
        assert (status, answer["align"]["verdict"]) == (200, "corrected")
    return [[body.get("cache_salt") for _, body in one.requests] for one in (policy, corrector)]


async def test_each_tenant_has_its_own(service: Start, gateway: Serve) -> None:
    asked, corrected = await salts(service, gateway, "cache_salt: true")
    assert len(asked) == 3
    assert len(corrected) == 6, "each once ahead and once for the correction"
    ours, again, theirs = asked
    assert ours == again != theirs
    assert corrected == [ours] * 4 + [theirs] * 2, "one tenant's, whoever computes"
    assert all(salt and "client" not in salt and "public" not in salt for salt in asked)


async def test_an_engine_that_knows_none_is_sent_none(service: Start, gateway: Serve) -> None:
    asked, corrected = await salts(service, gateway, "context: 4096")
    assert asked == ["of the client's own"] * 3, "a field that is not known here passes as it is"
    assert corrected == [None] * 6
