"""Requests generated from the published description never break the sandbox."""

import json
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.config import SchemathesisConfig
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
)

from backfill.sandbox import running

SPEC = json.loads(Path(__file__).with_name("track-api.openapi.json").read_text())
for name in ("track_customer_id", "trackEvent_customer_id"):
    # "exactly one of three kinds of text" is satisfied by none
    SPEC["components"]["parameters"][name]["schema"] = {"type": "string"}
FEW = SchemathesisConfig.from_dict({"phases": {"coverage": {"enabled": False}}})
SCHEMA = schemathesis.openapi.from_dict(SPEC, config=FEW)


@pytest.fixture(scope="module")
def url():
    """A sandbox."""
    with running() as sandbox:
        yield sandbox.url


@pytest.mark.filterwarnings("ignore")  # a generator's advice about the description is not ours
@SCHEMA.parametrize()
@settings(max_examples=20, deadline=None, suppress_health_check=list(HealthCheck))
def test_generated_requests_never_break_it(case, url):
    """Whatever can be made of the description: an answer of the right shape, and no 5xx."""
    answer = case.call(base_url=url, auth=("sandbox", "sandbox"))

    case.validate_response(
        answer, checks=[not_a_server_error, content_type_conformance, response_schema_conformance]
    )
