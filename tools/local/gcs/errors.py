"""Errors in the shape Google answers them.

Exception
├── ApiError            any refusal; carries status, reason and headers
│   └── OAuthError      a token endpoint's refusal, in OAuth's own shape
└── ConnectionCutError  the peer went away, or a fault says so: there is nobody to answer
"""

from collections.abc import Mapping

_DETAILS = {
    "conditionNotMet": {"locationType": "header", "location": "If-Match"},
    "invalidParameter": {"locationType": "parameter", "location": "fields"},
    "rateLimitExceeded": {"domain": "usageLimits"},
}
"""What GCS adds to an error with this reason. If-Match is also named for query parameters."""


class ApiError(Exception):
    """A request that is answered with an error status."""

    def __init__(
        self, status: int, reason: str, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message
        self.headers = dict(headers or {})

    def payload(self) -> dict[str, object]:
        """Return the JSON body of the answer."""
        detail = {
            "message": self.message,
            "domain": "global",
            "reason": self.reason,
            **_DETAILS.get(self.reason, {}),
        }
        return {"error": {"code": self.status, "message": self.message, "errors": [detail]}}


class OAuthError(ApiError):
    """A token endpoint's refusal (RFC 6749, section 5.2)."""

    def payload(self) -> dict[str, object]:
        """Return the JSON body of the answer."""
        return {"error": self.reason, "error_description": self.message}


class ConnectionCutError(Exception):
    """The connection ends here, without an answer."""


def invalid(message: str) -> ApiError:
    """Return the refusal of a request that can never succeed."""
    return ApiError(400, "invalid", message)


def not_found(message: str) -> ApiError:
    """Return the refusal of a request for something that is not there."""
    return ApiError(404, "notFound", message)


def no_object(bucket: str, name: str) -> ApiError:
    """Return the refusal of a request for a missing object or generation."""
    return not_found(f"No such object: {bucket}/{name}")
