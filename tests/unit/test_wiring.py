"""What the composition root builds from the environment variables. No request is sent."""

from collections.abc import Iterator
from contextlib import closing

import pytest

from replicate.protocol.plan import Overwrite
from replicate.sqs.queues import SqsQueues
from replicate.stepfunctions import StateMachine
from replicate.wiring import Environment

REQUIRED = {
    "AWS_REGION": "eu-west-1",
    "GCS_BUCKET_NAME": "replica",
    "GCP_CREDENTIALS_SECRET": "gcp",
    "SOURCE_BUCKETS": "source,another",
}
STACK = REQUIRED | {
    "EVENT_QUEUE_URL": "https://example.com/events",
    "FAILURE_QUEUE_URL": "https://example.com/failures",
    "REPORTS_BUCKET": "reports",
    "LARGE_STATE_MACHINE_ARN": "arn:aws:states:eu-west-1:1:stateMachine:large",
}
CHOICES = {
    "SOURCE_PREFIX": "logs/",
    "SOURCE_SUFFIX": ".gz",
    "GCS_KEY_PREFIX": "from-s3/",
    "OVERWRITE": "never",
    "REPLICATE_DELETES": "true",
    "REPLICATE_LIFECYCLE_DELETES": "true",
    "GCS_FIRST_TIMEOUT_SECONDS": "3",
}


@pytest.fixture
def environment(request: pytest.FixtureRequest) -> Iterator[Environment]:
    with closing(Environment.from_environ(request.param)) as environment:
        yield environment


@pytest.mark.parametrize("environment", [REQUIRED], indirect=True)
def test_without_a_stack_there_are_no_queues_and_no_executions(environment: Environment) -> None:
    assert (environment.queues, environment.executions) == (None, None)


@pytest.mark.parametrize("environment", [STACK], indirect=True)
def test_reconcile_looks_at_all_keys_and_nominates_no_deletes_by_default(
    environment: Environment,
) -> None:
    built = environment.reconcile()
    assert isinstance(environment.queues, SqsQueues)
    assert isinstance(environment.executions, StateMachine)
    assert built.buckets == {"source", "another"}
    assert (built.source_prefix, built.source_suffix) == ("", "")
    assert (built.overwrite, built.replicates_all_deletes) == (Overwrite.CHANGED, False)


@pytest.mark.parametrize("environment", [STACK | CHOICES], indirect=True)
def test_reconcile_compares_by_the_settings_of_the_function(environment: Environment) -> None:
    built = environment.reconcile()
    assert (built.naming.bucket, built.naming.prefix) == ("replica", "from-s3/")
    assert built.naming is environment.settings.naming
    assert built.deadline is environment.deadline
    assert (built.source_prefix, built.source_suffix) == ("logs/", ".gz")
    assert (built.overwrite, built.replicates_all_deletes) == (Overwrite.NEVER, True)


@pytest.mark.parametrize(
    ("environment", "wait_s"),
    [(STACK | CHOICES, 3), (REQUIRED | {"GCS_FIRST_TIMEOUT_SECONDS": "20"}, 20)],
    indirect=["environment"],
    ids=["shorter", "longer than by default"],
)
def test_first_request_to_gcs_waits_as_long_as_it_is_set(
    environment: Environment, wait_s: float
) -> None:
    assert environment.gcs.circuit.admit() == wait_s
