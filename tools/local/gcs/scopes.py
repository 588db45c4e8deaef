"""OAuth scopes: what an access token can be used for.

Source: the documentation, "Cloud Storage OAuth 2.0 scopes", and the scopes of each method in the
JSON API's discovery document.
"""

from collections.abc import Iterable
from typing import Final

from tools.local.gcs.errors import ApiError

_AUTH = "https://www.googleapis.com/auth/"

FULL_CONTROL: Final = f"{_AUTH}devstorage.full_control"
ADMINISTER: Final = (f"{_AUTH}cloud-platform", FULL_CONTROL)
"""Any of these is enough to change a resource, which can hold access control lists."""

WRITE: Final = (*ADMINISTER, f"{_AUTH}devstorage.read_write")
"""Any of these is enough to write."""

READ: Final = (*WRITE, f"{_AUTH}cloud-platform.read-only", f"{_AUTH}devstorage.read_only")
"""Any of these is enough to read."""

IMPERSONATE: Final = (f"{_AUTH}cloud-platform", f"{_AUTH}iam")
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
    headers = {"WWW-Authenticate": challenge}
    raise ApiError(403, "insufficientPermissions", "Insufficient Permission", headers)
