"""OAuth scopes: what an access token can be used for.

Source: the documentation, "Cloud Storage OAuth 2.0 scopes", and the scopes of each method in the
JSON API's discovery document.
"""

from collections.abc import Iterable
from typing import Final

from tools.local.gcs.errors import ApiError

_AUTH = "https://www.googleapis.com/auth/"

CLOUD_PLATFORM: Final = f"{_AUTH}cloud-platform"
CLOUD_PLATFORM_READ_ONLY: Final = f"{_AUTH}cloud-platform.read-only"
FULL_CONTROL: Final = f"{_AUTH}devstorage.full_control"
READ_WRITE: Final = f"{_AUTH}devstorage.read_write"
READ_ONLY: Final = f"{_AUTH}devstorage.read_only"
_IAM: Final = f"{_AUTH}iam"

ADMINISTER: Final = (CLOUD_PLATFORM, FULL_CONTROL)
"""Any of these is enough to change a resource, which may hold access control lists."""

WRITE: Final = (CLOUD_PLATFORM, FULL_CONTROL, READ_WRITE)
"""Any of these is enough to write."""

READ: Final = (*WRITE, CLOUD_PLATFORM_READ_ONLY, READ_ONLY)
"""Any of these is enough to read."""

IMPERSONATE: Final = (CLOUD_PLATFORM, _IAM)
"""Any of these is enough to get a token of a service account."""


def split(text: str) -> frozenset[str]:
    """Return the scopes in a list that is separated by spaces (RFC 6749, section 3.3)."""
    return frozenset(text.split())


def check(granted: Iterable[str], accepted: Iterable[str]) -> None:
    """Refuse a token that has none of the accepted scopes."""
    if not set(granted).isdisjoint(accepted):
        return
    challenge = (
        'Bearer realm="https://accounts.google.com/", error="insufficient_scope", '
        f'scope="{" ".join(accepted)}"'
    )
    raise ApiError(
        403,
        "insufficientPermissions",
        "Insufficient Permission",
        {"WWW-Authenticate": challenge},
    )
