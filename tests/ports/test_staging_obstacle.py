"""The real adapter says why a bucket cannot hold staged objects for a while."""

from collections.abc import Callable, Iterator

import pytest
from ports.clouds import DESTINATION, Adapters, Clouds

from replicate.errors import DestinationBucketNotFoundError, DestinationUnavailableError
from replicate.protocol.model import Precondition
from replicate.protocol.ports import Destination
from replicate.retry import DEFAULT_POLICY
from tools.local.gcs import Fault, GcsServer

STAGING = ".s3-to-gcs-replicator/staging/"


@pytest.fixture
def server(clouds: Clouds, monkeypatch: pytest.MonkeyPatch) -> Iterator[GcsServer]:
    """Return the server of a bucket without settings. Only the adapter reads the bucket."""
    monkeypatch.setenv("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")
    yield clouds.server
    clouds.server.set_bucket_settings(DESTINATION)
    clouds.server.withhold()
    clouds.server.clear_faults()


@pytest.fixture
def destination(real_adapters: Adapters) -> Destination:
    """Return a new adapter, because each one keeps its result."""
    return real_adapters.replicator().destination


@pytest.fixture
def obstacle(destination: Destination) -> Callable[[], str | None]:
    return destination.staging_obstacle


def operations(server: GcsServer) -> list[str]:
    """Return the requests for the bucket. Another test may have left a token, or none."""
    made = (request["operation"] for request in server.requests())
    return [operation for operation in made if operation != "token"]


def test_there_is_none_by_default(server: GcsServer, obstacle: Callable[[], str | None]) -> None:
    server.set_bucket_settings(DESTINATION, defaultEventBasedHold=False)

    assert obstacle() is None


def test_retention_policy_is_one(server: GcsServer, obstacle: Callable[[], str | None]) -> None:
    server.set_bucket_settings(DESTINATION, retentionPolicy={"retentionPeriod": "3600"})

    assert obstacle() == f"gs://{DESTINATION} has a retention policy of 3600 seconds"


def test_default_hold_is_one(server: GcsServer, obstacle: Callable[[], str | None]) -> None:
    server.set_bucket_settings(DESTINATION, defaultEventBasedHold=True)

    assert obstacle() == f"gs://{DESTINATION} puts an event-based hold on each new object"


def test_missing_right_to_delete_is_one(
    server: GcsServer, obstacle: Callable[[], str | None]
) -> None:
    server.withhold("storage.objects.delete")
    server.add_fault(Fault(operation="objects.delete", status=403))

    problem = "the credentials lack storage.objects.delete"
    assert obstacle() == f"{problem} on gs://{DESTINATION}/{STAGING}"


def test_missing_right_to_update_is_one(
    server: GcsServer, obstacle: Callable[[], str | None]
) -> None:
    server.withhold("storage.objects.update")
    server.add_fault(Fault(operation="objects.patch", status=403))

    problem = "the credentials lack storage.objects.update"
    assert obstacle() == f"{problem} on gs://{DESTINATION}/{STAGING}"


def test_rights_with_a_condition_on_names_are_none(
    server: GcsServer, obstacle: Callable[[], str | None]
) -> None:
    """GCS does not state them for the bucket. It asks for them before it looks for the object."""
    server.withhold("storage.objects.delete", "storage.objects.update")

    assert obstacle() is None
    assert operations(server)[-4:] == [
        "buckets.testIamPermissions",
        "objects.delete",
        "objects.patch",
        "buckets.get",
    ]


def test_obstacle_is_looked_for_again_until_it_is_gone(
    server: GcsServer, destination: Destination
) -> None:
    server.set_bucket_settings(DESTINATION, defaultEventBasedHold=True)
    assert destination.staging_obstacle()
    assert destination.staging_obstacle()

    server.set_bucket_settings(DESTINATION)
    assert destination.staging_obstacle() is None


def test_settings_that_may_not_be_read_are_none(
    server: GcsServer, obstacle: Callable[[], str | None]
) -> None:
    """GCS refuses later what it must, and nothing is lost."""
    server.set_bucket_settings(DESTINATION, retentionPolicy={"retentionPeriod": "3600"})
    server.add_fault(Fault(operation="buckets.get", status=403))

    assert obstacle() is None


def test_outage_is_retried_and_is_no_result(
    server: GcsServer, obstacle: Callable[[], str | None]
) -> None:
    server.add_fault(Fault(operation="buckets.get", status=503, times=DEFAULT_POLICY.attempts))
    with pytest.raises(DestinationUnavailableError):
        obstacle()

    server.add_fault(Fault(operation="buckets.get", status=503))
    assert obstacle() is None


def test_missing_bucket_is_an_error(server: GcsServer, obstacle: Callable[[], str | None]) -> None:
    server.add_fault(Fault(operation="buckets.testIamPermissions", status=404))

    with pytest.raises(DestinationBucketNotFoundError):
        obstacle()


def test_the_bucket_is_read_once(server: GcsServer, destination: Destination) -> None:
    server.clear_requests()

    for _ in range(3):
        assert destination.staging_obstacle() is None

    assert operations(server) == ["buckets.testIamPermissions", "buckets.get"]


def test_nothing_asks_for_the_bucket_in_the_background_afterwards(
    server: GcsServer, destination: Destination
) -> None:
    """google-cloud-storage does so after a 404 when its client has read the bucket."""
    assert destination.staging_obstacle() is None
    server.clear_requests()

    for number in range(10):
        destination.delete(f"absent-{number}", Precondition(1))

    assert operations(server) == ["objects.delete"] * 10
