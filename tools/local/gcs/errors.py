"""Errors in the shape that Google's APIs give them.

Exception
├── ApiError            a refused request: status, reason, message and headers
│   └── OAuthError      refused by a token endpoint, in the shape of OAuth
└── ConnectionCutError  the client is gone, or a fault closes the connection: no response
"""

from collections.abc import Mapping

_DETAILS = {
    "conditionNotMet": {"locationType": "header", "location": "If-Match"},
    "invalidParameter": {"locationType": "parameter", "location": "fields"},
    "rateLimitExceeded": {"domain": "usageLimits"},
}
"""What GCS adds to an error with this reason. It names If-Match for query parameters too."""


class ApiError(Exception):
    """A request that gets an error status."""

    def __init__(
        self, status: int, reason: str, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.reason = reason
        self.message = message
        self.headers = dict(headers or {})

    def payload(self) -> dict[str, object]:
        """Return the JSON body of the response."""
        detail = {"message": self.message, "domain": "global", "reason": self.reason}
        detail |= _DETAILS.get(self.reason, {})
        return {"error": {"code": self.status, "message": self.message, "errors": [detail]}}


class OAuthError(ApiError):
    """A token endpoint's refusal (RFC 6749, section 5.2)."""

    def payload(self) -> dict[str, object]:
        """Return the JSON body of the response."""
        return {"error": self.reason, "error_description": self.message}


class ConnectionCutError(Exception):
    """The connection ends here, without a response."""


def invalid(message: str) -> ApiError:
    """Return the error for a request that can never succeed."""
    return ApiError(400, "invalid", message)


def not_found(message: str) -> ApiError:
    """Return the error for a request that names something unknown."""
    return ApiError(404, "notFound", message)
