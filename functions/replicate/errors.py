"""Every way a replication can fail: one tree; status and retryability are facts of the class.

ReplicationError
├── InvalidRequestError             400  not a request or an event we understand
│   ├── InvalidEventError
│   ├── InvalidNameError                 a key that GCS cannot hold
│   └── DestinationRejectedError         GCS calls the object's metadata or settings invalid
├── UnsupportedMediaTypeError       415
├── MethodNotAllowedError           405
├── ForbiddenError                  403
│   ├── SourceNotAllowedError            a bucket outside SOURCE_BUCKETS
│   ├── SourceForbiddenError
│   └── DestinationForbiddenError
├── NotFoundError                   404
│   ├── RouteNotFoundError
│   ├── ObjectNotFoundError
│   ├── SourceBucketNotFoundError
│   └── DestinationBucketNotFoundError
├── SourceArchivedError             409
├── ObjectTooLargeError             413
├── ThrottledError                  429  retryable
├── SettingsError                   500
├── CredentialsError                500  retryable: a rotation may be under way
├── IntegrityError                  502  retryable
├── UnavailableError                503  retryable
│   ├── SourceUnavailableError
│   └── DestinationUnavailableError
├── OutOfTimeError                  504  retryable
├── LargeObjectError                500  several executions for a large object failed
├── InternalError                   500  a defect of the replicator
└── BatchFailedError                500  several changes in one event, and which of them failed

LostRaceError is no failure: a port raises SourceChangedError or DestinationChangedError when the
object is no longer what the decision was based on, and the protocol reads both sides again.
"""

from typing import ClassVar


class ReplicationError(Exception):
    """A replication that did not happen. Users see its text: it names object and next step."""

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    retryable: ClassVar[bool] = False

    def __init__(
        self, message: str, *, retry_after_s: float | None = None, request_id: str | None = None
    ) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after_s = retry_after_s
        self.request_id = request_id


class InvalidRequestError(ReplicationError):
    """The request cannot be understood."""

    status = 400
    code = "invalid_request"


class InvalidEventError(InvalidRequestError):
    """The invocation's payload is not an event this function handles."""

    code = "invalid_event"


class InvalidNameError(InvalidRequestError):
    """GCS has no way to hold an object of this name."""

    code = "invalid_name"


class DestinationRejectedError(InvalidRequestError):
    """GCS calls something about the object invalid."""

    code = "destination_rejected"


class UnsupportedMediaTypeError(ReplicationError):
    """The request's body is not JSON by its own account."""

    status = 415
    code = "unsupported_media_type"


class MethodNotAllowedError(ReplicationError):
    """The API's path, but not its method."""

    status = 405
    code = "method_not_allowed"


class ForbiddenError(ReplicationError):
    """Somebody's permission is missing."""

    status = 403
    code = "forbidden"


class SourceNotAllowedError(ForbiddenError):
    """The API was asked for a bucket that is not in SOURCE_BUCKETS."""

    code = "source_not_allowed"


class SourceForbiddenError(ForbiddenError):
    """S3 denied access."""

    code = "source_forbidden"


class DestinationForbiddenError(ForbiddenError):
    """GCS denied access, or a retention policy or hold protects the object."""

    code = "destination_forbidden"


class NotFoundError(ReplicationError):
    """Something named does not exist."""

    status = 404
    code = "not_found"


class RouteNotFoundError(NotFoundError):
    """The API has no such path."""

    code = "route_not_found"


class ObjectNotFoundError(NotFoundError):
    """S3 has no such object."""

    code = "object_not_found"


class SourceBucketNotFoundError(NotFoundError):
    """S3 has no such bucket."""

    code = "source_bucket_not_found"


class DestinationBucketNotFoundError(NotFoundError):
    """GCS has no such bucket."""

    code = "destination_bucket_not_found"


class SourceArchivedError(ReplicationError):
    """The object is in an archive tier and must be restored before it can be read."""

    status = 409
    code = "source_archived"


class ObjectTooLargeError(ReplicationError):
    """The object is larger than GCS can hold."""

    status = 413
    code = "object_too_large"


class ThrottledError(ReplicationError):
    """S3 or GCS asked for fewer requests, for longer than it was worth waiting."""

    status = 429
    code = "throttled"
    retryable = True


class SettingsError(ReplicationError):
    """An environment variable of the function is missing or wrong."""

    code = "settings_invalid"


class CredentialsError(ReplicationError):
    """The GCP credentials cannot be read or Google does not accept them."""

    code = "credentials_invalid"
    retryable = True


class IntegrityError(ReplicationError):
    """The bytes are not what their checksum says. Nothing became visible at the destination."""

    status = 502
    code = "integrity"
    retryable = True


class UnavailableError(ReplicationError):
    """A store could not be reached or failed, again and again."""

    status = 503
    code = "unavailable"
    retryable = True


class SourceUnavailableError(UnavailableError):
    """S3 could not be reached or failed."""

    code = "source_unavailable"


class DestinationUnavailableError(UnavailableError):
    """GCS or Google's token service could not be reached or failed."""

    code = "destination_unavailable"


class OutOfTimeError(ReplicationError):
    """The invocation's time budget ended first. Nothing unfinished is visible."""

    status = 504
    code = "out_of_time"
    retryable = True


class LargeObjectError(ReplicationError):
    """Executions of the state machine did not copy a large object. The text has the last cause."""

    code = "large_object_failed"


class InternalError(ReplicationError):
    """A defect of the replicator. The log has the exception and its stack."""


class BatchFailedError(ReplicationError):
    """Some changes of an event failed. The text lists them."""

    code = "batch_failed"
    retryable = True


class LostRaceError(Exception):
    """A condition of a request does not hold. `message` is the store's own sentence, if any."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message)
        self.message = message


class SourceChangedError(LostRaceError):
    """The source object is no longer the version that was asked for."""


class DestinationChangedError(LostRaceError):
    """The destination object is no longer at the generation that the write was conditioned on."""
