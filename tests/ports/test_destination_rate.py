"""GCS takes about one write a second of one name. A part is patched right after it was written."""

from contextlib import closing
from dataclasses import replace

import pytest
from contract.gcs_http import Gcs
from google.auth.credentials import Credentials
from google.oauth2 import service_account

from replicate.breaker import Circuit
from replicate.gcs import GcsDestination
from replicate.gcs.client import GcsClient
from replicate.gcs.credentials import SecretCredentials
from replicate.protocol.deadline import Deadline
from replicate.protocol.mapping import Naming
from replicate.retry import RetryPolicy
from tools.local.gcs import GcsServer

INTERVAL_S = 0.3


class WithoutJitter(RetryPolicy):
    """Waits 0.15 s between the five attempts of other requests."""

    def delay_s(self, failures: int) -> float:
        return float(self.first_delay_s * 2 ** (failures - 1))


POLICY = WithoutJitter(first_delay_s=0.01)


class Vault:
    """The secret of a server, without Secrets Manager."""

    def __init__(self, server: GcsServer) -> None:
        self._key = server.create_key()

    def read(self, deadline: Deadline) -> str:
        del deadline
        return "key"

    def credentials(self, text: str) -> Credentials:
        del text
        made: Credentials = service_account.Credentials.from_service_account_info(
            self._key, scopes=["https://www.googleapis.com/auth/devstorage.full_control"]
        )
        return made


def test_patch_right_after_a_write_waits_until_gcs_takes_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with GcsServer(["b"], seconds_between_writes=INTERVAL_S) as server:
        monkeypatch.setenv("STORAGE_EMULATOR_HOST", server.url)
        deadline = Deadline(60)
        with closing(
            GcsClient(SecretCredentials(Vault(server), deadline, POLICY), Circuit())
        ) as client:
            destination = GcsDestination(client, Naming("b"), deadline, POLICY)
            destination.head("x")  # gets a token
            assert Gcs(server.url, "b", server.issue_token()).media("x", b"data").status == 200
            current = destination.head("x")
            assert current
            attributes = replace(current.attributes, metadata={"recorded": "yes"})
            patched = destination.patch("x", attributes, current)
    assert patched.attributes.metadata == {"recorded": "yes"}
