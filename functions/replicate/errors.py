"""The errors of a replication, each with an HTTP status, a code, and whether a retry may help.

An error without a status in this drawing has the status of its parent. What is below a retryable
error is retryable too. tests/unit/test_errors.py compares the drawing with the classes.

ReplicationError                    500
├── InvalidRequestError             400
│   ├── InvalidEventError
│   ├── InvalidNameError                 GCS does not accept the object's name
│   └── DestinationRejectedError         GCS does not accept the object's metadata
├── UnsupportedMediaTypeError       415
├── MethodNotAllowedError           405
├── ForbiddenError                  403
│   ├── SourceNotAllowedError            the bucket or key is not to be replicated
│   ├── SourceForbiddenError
│   └── DestinationForbiddenError
├── NotFoundError                   404
│   ├── RouteNotFoundError
│   ├── ObjectNotFoundError
│   ├── SourceBucketNotFoundError
│   ├── DestinationBucketNotFoundError
│   └── PrefixNotFoundError              no key on either side begins with it
├── SourceArchivedError             409
├── DestinationForeignError         409  Overwrite=own, and the object in GCS is no replica
├── ObjectTooLargeError             413
├── ThrottledError                  429  retryable
├── SettingsError                   500
├── CredentialsError                500  retryable: the credentials may be in rotation
├── IntegrityError                  502  retryable
├── UnavailableError                503  retryable
│   ├── SourceUnavailableError
│   └── DestinationUnavailableError
├── OutOfTimeError                  504  retryable
├── LargeObjectError                500  executions for a large object failed
│   └── LargeObjectDelayedError     503  retryable: transient causes
├── GivenUpError                    500  no attempt of many days reported why it failed
├── ListingOrderError               500  a listing is not in the order of its keys
├── InternalError                   500
└── BatchFailedError                500  retryable: Lambda retries the whole event

LostRaceError
├── SourceChangedError
├── DestinationChangedError
└── ComponentGoneError

A lost race is not a failure. A port raises it when an object is no longer in the state that the
decision was based on. The protocol then reads both sides again.
"""

from typing import ClassVar

COSTLY_BYTES = 8 * 1024 * 1024
"""Bytes that a failed write had read, from which on it was costly.

An outage that refuses requests stays below: at most 1 MiB is read before the first response of GCS.
The egress of so many bytes costs $0.0007, and $0.17 in the 240 attempts of ten days.
"""


class ReplicationError(Exception):
    """The failure of a replication. Users see `message`: it names the object and what to do.

    `retry_after_s` is the time in seconds that the store asked to wait. `request_id` is the store's
    ID of the failed request. `timed_out` says that a service did not respond in time. `ends_run`
    says: do not try again in this invocation, because the event is delivered again later.
    `from_aws` says that AWS failed during a request to Google. `bytes_wasted` says how many bytes
    of an object the write had read until it failed.
    """

    status: ClassVar[int] = 500
    code: ClassVar[str] = "internal_error"
    retryable: ClassVar[bool] = False
    moves_bytes: ClassVar[bool] = False
    """Whether an attempt may have transferred the object, which is paid for. So few are made."""

    def __init__(
        self,
        message: str,
        *,
        retry_after_s: float | None = None,
        request_id: str | None = None,
        timed_out: bool = False,
        ends_run: bool = False,
        from_aws: bool = False,
    ) -> None:
        super().__init__(message)
        self.message = message
        self.retry_after_s = retry_after_s
        self.request_id = request_id
        self.timed_out = timed_out
        self.ends_run = ends_run
        self.from_aws = from_aws
        self.bytes_wasted = 0

    @property
    def is_costly(self) -> bool:
        """Whether so many bytes were wasted that the next attempt must wait."""
        return self.bytes_wasted >= COSTLY_BYTES


class InvalidRequestError(ReplicationError):
    """The function cannot process the request as it is."""

    status = 400
    code = "invalid_request"


class InvalidEventError(InvalidRequestError):
    """The function does not support the event."""

    code = "invalid_event"


class InvalidNameError(InvalidRequestError):
    """S3 or GCS does not accept the name of the object."""

    code = "invalid_name"


class DestinationRejectedError(InvalidRequestError):
    """GCS does not accept the metadata or another setting of the object."""

    code = "destination_rejected"


class UnsupportedMediaTypeError(ReplicationError):
    """The Content-Type of an API request is not JSON."""

    status = 415
    code = "unsupported_media_type"


class MethodNotAllowedError(ReplicationError):
    """The API does not support the HTTP method."""

    status = 405
    code = "method_not_allowed"


class ForbiddenError(ReplicationError):
    """A permission is missing."""

    status = 403
    code = "forbidden"


class SourceNotAllowedError(ForbiddenError):
    """The bucket or the key is not one that this deployment replicates."""

    code = "source_not_allowed"


class SourceForbiddenError(ForbiddenError):
    """S3 denied access."""

    code = "source_forbidden"


class DestinationForbiddenError(ForbiddenError):
    """GCS denied access, or a retention policy or hold protects the object."""

    code = "destination_forbidden"


class NotFoundError(ReplicationError):
    """A path, an object or a bucket does not exist."""

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


class PrefixNotFoundError(NotFoundError):
    """No key in S3 and no name in GCS begins with the prefix of a reconcile."""

    code = "prefix_not_found"


class SourceArchivedError(ReplicationError):
    """The object is in an archive tier and must be restored before it can be read."""

    status = 409
    code = "source_archived"


class DestinationForeignError(ReplicationError):
    """The object in GCS is not a replica of the source, and only replicas may be overwritten."""

    status = 409
    code = "destination_foreign"


class ObjectTooLargeError(ReplicationError):
    """The object is larger than GCS can hold."""

    status = 413
    code = "object_too_large"


class ThrottledError(ReplicationError):
    """S3 or GCS throttled the request, and the retries in this invocation did not help."""

    status = 429
    code = "throttled"
    retryable = True


class SettingsError(ReplicationError):
    """An environment variable or the role of the function is missing or wrong."""

    code = "settings_invalid"


class CredentialsError(ReplicationError):
    """The secret cannot be read, or Google does not accept the credentials in it."""

    code = "credentials_invalid"
    retryable = True


class IntegrityError(ReplicationError):
    """The bytes do not match their checksum. No object became visible in GCS."""

    status = 502
    code = "integrity"
    retryable = True
    moves_bytes = True


class UnavailableError(ReplicationError):
    """A service could not be reached or failed, and the retries in this invocation did not help."""

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
    """The invocation has no time left. No incomplete object is visible in GCS."""

    status = 504
    code = "out_of_time"
    retryable = True
    moves_bytes = True


class LargeObjectError(ReplicationError):
    """Executions of the state machine did not copy a large object. The text has the last cause."""

    code = "large_object_failed"


class LargeObjectDelayedError(LargeObjectError):
    """Executions failed for a transient cause. Later the next one starts."""

    status = 503
    code = "large_object_delayed"
    retryable = True


class GivenUpError(ReplicationError):
    """An event was delivered for many days, and the function never reported why it failed."""

    code = "given_up"


class ListingOrderError(ReplicationError):
    """A listing is not in the byte order of its keys, so a comparison could miss some."""

    code = "listing_order"


class InternalError(ReplicationError):
    """A defect of the replicator. The log has the exception and its stack."""


class BatchFailedError(ReplicationError):
    """Some changes of an event failed. The message lists them."""

    code = "batch_failed"
    retryable = True


class LostRaceError(Exception):
    """The condition of a request does not hold. `message` is the text that the store sent."""

    def __init__(self, message: str = "") -> None:
        super().__init__(message)
        self.message = message


class SourceChangedError(LostRaceError):
    """The source object is no longer the version that was requested."""


class DestinationChangedError(LostRaceError):
    """The destination object is no longer at the generation that the write requires."""


class ComponentGoneError(LostRaceError):
    """An object that a compose joins is gone. That says nothing about the object to be written."""
