"""Which server the contract is checked against: ours, or one that the environment names.

GCS_CONTRACT_URL, GCS_CONTRACT_BUCKET and GCS_CONTRACT_TOKEN name another one: a test bench, or
https://storage.googleapis.com with a scratch bucket and `gcloud auth print-access-token`.
"""

import os
import uuid
from collections.abc import Iterator

import pytest
from contract.gcs_http import Gcs, Upload
from google.cloud.storage import Bucket, Client
from google.oauth2 import service_account
from google.oauth2.credentials import Credentials

from tools.local.gcs import GcsServer


@pytest.fixture(scope="session")
def own_server() -> Iterator[GcsServer | None]:
    """Return our server, None where another one is under test."""
    if "GCS_CONTRACT_URL" in os.environ:
        yield None
    else:
        with GcsServer(["contract"]) as server:
            yield server


@pytest.fixture(scope="session")
def gcs(own_server: GcsServer | None) -> Gcs:
    """Return a raw client for the server under test."""
    if own_server:
        return Gcs(own_server.url, "contract", own_server.issue_token())
    return Gcs(
        os.environ["GCS_CONTRACT_URL"].rstrip("/"),
        os.environ["GCS_CONTRACT_BUCKET"],
        os.environ["GCS_CONTRACT_TOKEN"],
    )


@pytest.fixture(scope="session")
def bucket(gcs: Gcs, own_server: GcsServer | None) -> Iterator[Bucket]:
    """Return Google's own client on the same bucket, with a service account where it is ours."""
    if own_server:
        credentials = service_account.Credentials.from_service_account_info(own_server.create_key())
    else:
        credentials = Credentials(gcs.token)
    client = Client("project", credentials, client_options={"api_endpoint": gcs.url})
    yield client.bucket(gcs.bucket)
    client.close()


@pytest.fixture
def name() -> str:
    """Return an object name that no other test uses."""
    return f"contract/{uuid.uuid4().hex}"


@pytest.fixture(params=["media", "multipart", "resumable"])
def upload(request: pytest.FixtureRequest, gcs: Gcs) -> Upload:
    """Return each of the three ways to upload."""
    way: Upload = getattr(gcs, request.param)
    return way


@pytest.fixture(params=["multipart", "resumable"])
def described_upload(request: pytest.FixtureRequest, gcs: Gcs) -> Upload:
    """Return each way that carries an object resource."""
    way: Upload = getattr(gcs, request.param)
    return way
