"""What several unit tests need around them."""

import time
from collections.abc import Iterator
from typing import NoReturn

import pytest
from network import Network
from requests.adapters import HTTPAdapter


@pytest.fixture
def in_tokyo(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run where local time is nine hours ahead of UTC."""
    with monkeypatch.context() as patch:
        patch.setenv("TZ", "JST-9")
        time.tzset()
        yield
    time.tzset()


@pytest.fixture
def network(monkeypatch: pytest.MonkeyPatch) -> Network:
    """Replace the network of `requests`. A library that waits to repeat a request fails the test.

    Only the adapters may repeat one: the libraries do not know the deadline.
    """

    def sleep(seconds: float) -> NoReturn:
        raise AssertionError(f"a library waits {seconds} s to repeat a request")

    made = Network()
    monkeypatch.setenv("DISABLE_GCS_PYTHON_CLIENT_OTEL_BUCKET_METADATA", "true")  # as the handler
    monkeypatch.setattr(HTTPAdapter, "send", lambda _, request, **kw: made.send(request, **kw))
    monkeypatch.setattr("time.sleep", sleep)
    return made
