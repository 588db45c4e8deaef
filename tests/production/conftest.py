"""The environment variables of the function as Lambda sets them, and the simulated internet."""

import os
from collections.abc import Iterator, Mapping

import pytest
from production.internet import (
    DESTINATION,
    DOTTED,
    KEYS,
    REGION,
    SECRET,
    SOURCE,
    Internet,
)


@pytest.fixture(scope="module")
def internet() -> Iterator[Internet]:
    """Return both clouds under their own host names, with two source buckets."""
    internet = Internet()
    for bucket in (SOURCE, DOTTED):
        internet.create_bucket(bucket)
    internet.store_secret(internet.key())
    yield internet
    for bucket in (SOURCE, DOTTED):
        internet.delete_bucket(bucket)
    internet.close()


@pytest.fixture(scope="module")
def variables(internet: Internet) -> Iterator[pytest.MonkeyPatch]:
    """Set the variables that Lambda and the template set, and the proxy; return the patch."""
    with pytest.MonkeyPatch.context() as patch:
        for name in os.environ:
            if name.startswith("AWS_") or name.lower().endswith("_proxy"):
                patch.delenv(name)
        for name in ("STORAGE_EMULATOR_HOST", "CURL_CA_BUNDLE", "SSL_CERT_FILE", "SSL_CERT_DIR"):
            patch.delenv(name, raising=False)
        for name, value in environ(internet).items():
            patch.setenv(name, value)
        yield patch


def environ(internet: Internet) -> Mapping[str, str]:
    return {
        **KEYS,
        "AWS_REGION": REGION,
        "AWS_DEFAULT_REGION": REGION,
        "GCS_BUCKET_NAME": DESTINATION,
        "GCP_CREDENTIALS_SECRET": SECRET,
        "SOURCE_BUCKETS": f"{SOURCE},{DOTTED}",
        "HTTPS_PROXY": internet.proxy.url,
        "HTTP_PROXY": internet.proxy.url,
        "AWS_CA_BUNDLE": internet.certificates.bundle,
        "REQUESTS_CA_BUNDLE": internet.certificates.bundle,
    }
