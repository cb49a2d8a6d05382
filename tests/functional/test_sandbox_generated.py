"""Requests generated from the published description never break the sandbox."""

import json
from pathlib import Path

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
)

from backfill.sandbox import running
from tests.support.examples import examples

SPEC = json.loads(Path(__file__).with_name("track-api.openapi.json").read_text())
for name in ("track_customer_id", "trackEvent_customer_id"):
    # "exactly one of three kinds of text" is satisfied by none
    SPEC["components"]["parameters"][name]["schema"] = {"type": "string"}
SCHEMA = schemathesis.openapi.from_dict(SPEC)
OPERATIONS = [each.ok() for each in SCHEMA.get_all_operations()]
CHECKS = [not_a_server_error, content_type_conformance, response_schema_conformance]


@pytest.fixture(scope="module")
def url():
    """A sandbox."""
    with running() as sandbox:
        yield sandbox.url


@pytest.mark.filterwarnings("ignore")  # a generator's advice about the description is not ours
@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.label)
def test_generated_requests_never_break_it(operation, url):
    """Whatever can be made of the description: an answer of the right shape, and no 5xx."""
    modes = SCHEMA.config.generation.modes  # as described, and otherwise

    @settings(max_examples=examples(12), suppress_health_check=list(HealthCheck))
    @given(st.one_of(*(operation.as_strategy(mode) for mode in modes)))
    def is_survived(case):
        answer = case.call(base_url=url, auth=("sandbox", "sandbox"))
        case.validate_response(answer, checks=CHECKS)

    is_survived()
