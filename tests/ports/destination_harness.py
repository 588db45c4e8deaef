"""Harness for the contract of `Destination`: the port, and what other programs do to GCS."""

from collections.abc import Mapping
from dataclasses import replace
from typing import Protocol

from fakes import PLAIN, FakeGcs
from ports.clouds import Adapters, Clouds

from replicate.protocol.ports import Destination


class DestinationHarness(Protocol):
    """A bucket in GCS, which is empty at first."""

    @property
    def destination(self) -> Destination: ...

    def destination_within(self, seconds: float) -> Destination:
        """Return the destination in an invocation with `seconds` left."""

    def put(self, name: str, data: bytes, metadata: Mapping[str, str] | None = None) -> None:
        """Write an object without a precondition."""

    def patch(self, name: str, metadata: Mapping[str, str]) -> None:
        """Set keys of an object's metadata without a precondition."""

    def delete(self, name: str) -> None:
        """Delete an object without a precondition."""

    def data(self, name: str) -> bytes | None:
        """Return an object's bytes, None when there is no object."""

    def storage_class(self, name: str) -> str:
        """Return an object's storage class. The bucket's default is STANDARD."""


class MemoryDestination:
    """The harness for the fake."""

    def __init__(self) -> None:
        self._gcs = FakeGcs()
        self.destination: Destination = self._gcs

    def destination_within(self, seconds: float) -> Destination:  # noqa: ARG002
        return self._gcs

    def put(self, name: str, data: bytes, metadata: Mapping[str, str] | None = None) -> None:
        self._gcs.put(name, data, replace(PLAIN, metadata=metadata or {}))

    def patch(self, name: str, metadata: Mapping[str, str]) -> None:
        live = self._gcs.objects[name].replica
        attributes = live.attributes
        changed = replace(attributes, metadata={**attributes.metadata, **metadata})
        self._gcs.patch(name, changed, live)

    def delete(self, name: str) -> None:
        del self._gcs.objects[name]

    def data(self, name: str) -> bytes | None:
        stored = self._gcs.objects.get(name)
        return stored.data if stored else None

    def storage_class(self, name: str) -> str:
        return self._gcs.objects[name].storage_class or "STANDARD"


class RealDestination:
    """The harness for the real adapter and the local server. Call `clear` at the end."""

    def __init__(self, clouds: Clouds, adapters: Adapters) -> None:
        self._gcs = clouds.gcs
        self._adapters = adapters
        self.destination: Destination = adapters.replicator().destination

    def destination_within(self, seconds: float) -> Destination:
        return self._adapters.replicator(seconds=seconds).destination

    def put(self, name: str, data: bytes, metadata: Mapping[str, str] | None = None) -> None:
        resource = {"contentType": "text/x-part", "metadata": dict(metadata or {})}
        assert self._gcs.multipart(name, data, resource=resource).status == 200

    def patch(self, name: str, metadata: Mapping[str, str]) -> None:
        assert self._gcs.patch(name, {"metadata": dict(metadata)}).status == 200

    def delete(self, name: str) -> None:
        assert self._gcs.delete(name).status == 204

    def data(self, name: str) -> bytes | None:
        # Otherwise GCS decompresses objects with the content encoding gzip.
        reply = self._gcs.download(name, {"Accept-Encoding": "gzip"})
        assert reply.status in {200, 404}
        return reply.body if reply.status == 200 else None

    def storage_class(self, name: str) -> str:
        storage_class: str = self._gcs.get(name).json["storageClass"]
        return storage_class

    def clear(self) -> None:
        """Delete everything."""
        for item in self._gcs.listing().json.get("items", []):
            self.delete(item["name"])
