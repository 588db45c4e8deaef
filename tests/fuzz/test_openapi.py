"""The API conforms to docs/openapi.json: schemathesis sends requests through a local gateway."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st
from memory import Context, MemoryStores

from replicate.errors import ReplicationError
from replicate.protocol.model import SourceRef
from tools.local.api_gateway import ApiGateway

if TYPE_CHECKING:
    from schemathesis import Case

DOCUMENT = Path(__file__).parents[2] / "docs" / "openapi.json"


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """Return the URL of the function over stores in memory."""
    stores = MemoryStores()
    stores.s3.put(SourceRef("source", "reports/2026 11.pdf"), b"bytes")
    function = stores.function()
    gateway = ApiGateway(lambda event: function.handle(event, Context()))
    yield gateway.url
    gateway.close()


def is_text(body: object) -> bool:
    """Return whether these bytes need no base64 in an event."""
    return not isinstance(body, bytes) or "\ufffd" not in body.decode(errors="replace")


def requests() -> st.SearchStrategy["Case[Any]"]:
    """Return valid and invalid requests. Only the process that needs schemathesis imports it."""
    import schemathesis  # noqa: PLC0415 - 0.7 s of CPU in each process

    operation = schemathesis.openapi.from_path(DOCUMENT)["/v1/replicate"]["POST"]
    modes = schemathesis.GenerationMode.POSITIVE, schemathesis.GenerationMode.NEGATIVE
    return st.one_of(*(operation.as_strategy(generation_mode=mode) for mode in modes))


@given(case=st.deferred(requests))
@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
def test_every_response_conforms_to_the_document(case: "Case[Any]", url: str) -> None:
    """For valid and invalid requests, as far as the local gateway can translate them."""
    from schemathesis.checks import not_a_server_error  # noqa: PLC0415 - see `requests`
    from schemathesis.specs.openapi.checks import (  # noqa: PLC0415
        content_type_conformance,
        negative_data_rejection,
        response_headers_conformance,
        response_schema_conformance,
        status_code_conformance,
    )

    assume(is_text(case.as_transport_kwargs().get("data")))
    checks = [
        not_a_server_error,
        status_code_conformance,
        content_type_conformance,
        response_headers_conformance,
        response_schema_conformance,
        negative_data_rejection,
    ]
    case.call_and_validate(base_url=url, checks=checks)


def statuses(kind: type[ReplicationError]) -> set[int]:
    """Return the status of an error class and of its subclasses."""
    return {kind.status}.union(*map(statuses, kind.__subclasses__()))


def test_document_has_the_status_of_every_error() -> None:
    document: dict[str, Any] = json.loads(DOCUMENT.read_text())
    (operations,) = document["paths"].values()
    documented = {int(status) for status in operations["post"]["responses"]}
    elsewhere = {405}  # another method is another operation, and so is another path
    assert documented == (statuses(ReplicationError) - elsewhere) | {200, 201, 202}
