"""Where the demo's scenes play: a local cloud, and what must have come of what is done on it."""

import http.client
import json
from contextlib import closing
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

from tools.local.audit import Pair, audit
from tools.local.cloud import SILENT, SOURCE, VERSIONED, LocalCloud
from tools.local.delivery import Delivery
from tools.local.notifications import Json, record

API_TIMEOUT_S = 60


class SurpriseError(Exception):
    """Something did not go as promised."""


@dataclass(slots=True)
class Stage:
    """A cloud, and what one scene leaves for another."""

    cloud: LocalCloud
    first_event: Json = field(default_factory=dict)
    answers: list[Json] = field(default_factory=list)
    """What the API answered."""
    buckets: tuple[str, ...] = (SOURCE, SILENT, VERSIONED)
    """All that the replica must equal."""

    def upload(self, key: str, data: bytes, **described: Any) -> Delivery:  # noqa: ANN401 - boto3's
        """Put an object into the bucket that sends events; returns what its event came to."""
        self.cloud.aws.s3.put_object(Bucket=SOURCE, Key=key, Body=data, **described)
        return self.delivered()

    def delivered(self) -> Delivery:
        """What the event of the change just made came to."""
        deliveries = self.cloud.invoker.deliveries
        before = len(deliveries)
        self.cloud.settle()
        expect(len(deliveries) - before, 1, "deliveries")
        return deliveries[-1]

    def record_of_silent(self, key: str, data: bytes) -> Json:
        """Put an object into the bucket that sends no events; returns the record it would send."""
        etag = self.cloud.aws.s3.put_object(Bucket=SILENT, Key=key, Body=data)["ETag"]
        return record(SILENT, key, size=len(data), etag=etag.strip('"'))

    def call(self, **body: str) -> tuple[int, Json]:
        """POST /v1/replicate; returns the status and the answer."""
        address = urlsplit(self.cloud.api.url).netloc
        headers = {"content-type": "application/json"}
        with closing(http.client.HTTPConnection(address, timeout=API_TIMEOUT_S)) as connection:
            connection.request("POST", "/v1/replicate", json.dumps(body), headers)
            response = connection.getresponse()
            answer = json.loads(response.read())
        self.answers.append(answer)
        return response.status, answer

    def elapsed_ms(self) -> dict[str, float]:
        """How long the function took for each object that it replicated."""
        delivered = [
            result for delivery in self.cloud.invoker.deliveries for result in delivery.results
        ]
        return {
            result["source"]["key"]: result["elapsed_ms"]
            for result in [*delivered, *self.answers]
            if result.get("status") == "replicated"
        }

    def pairs(self, prefix: str = "") -> list[Pair]:
        """Both sides, as the SDKs download them."""
        return audit(self.cloud.aws.s3, self.buckets, self.cloud.google.bucket, prefix)

    def expect_equal(self, prefix: str, count: int = 1) -> None:
        """Raises SurpriseError unless both sides hold these objects, and no others."""
        found = self.pairs(prefix)
        expect([pair for pair in found if not pair.equal], [], "what differs")
        expect(len(found), count, "objects")

    def generation(self, name: str) -> int | None:
        """Of the replica; None when there is none."""
        blob = self.cloud.google.bucket.get_blob(name)
        return int(blob.generation) if blob else None


def expect(found: object, wanted: object, what: str) -> None:
    """Raises SurpriseError unless both are equal."""
    if found != wanted:
        raise SurpriseError(f"{what}: {found!r} instead of {wanted!r}")


def results(delivery: Delivery, *reasons: str) -> tuple[Json, ...]:
    """The function's results, when these are their reasons. Raises SurpriseError."""
    if delivery.error:
        raise SurpriseError(f"the function failed: {delivery.error}")
    expect(tuple(result["reason"] for result in delivery.results), reasons, "reasons")
    return delivery.results
