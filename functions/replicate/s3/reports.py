"""Implement the port `Reports`: a bucket for the state and the reports of runs, on boto3."""

from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from boto3.s3.transfer import TransferConfig

from replicate.aws_calls import call
from replicate.aws_clients import AwsClients
from replicate.protocol.deadline import Deadline
from replicate.retry import RetryPolicy

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

_REMEDY = (
    "Allow the function's role s3:GetObject, s3:PutObject and s3:AbortMultipartUpload on the"
    " objects of the reports bucket, and s3:ListBucket on the bucket."
)
_IN_ONE_THREAD = TransferConfig(use_threads=False)


class S3Reports:
    """The reports bucket."""

    def __init__(
        self, clients: AwsClients, deadline: Deadline, policy: RetryPolicy, bucket: str
    ) -> None:
        self.bucket = bucket
        self._clients = clients
        self._deadline = deadline
        self._policy = policy

    def read(self, name: str) -> bytes | None:
        """See `Reports.read`."""

        def read() -> bytes | None:
            client = self._client()
            try:
                return client.get_object(Bucket=self.bucket, Key=name)["Body"].read()
            except client.exceptions.NoSuchKey:
                return None

        return call("GetObject", read, self._policy, self._deadline, remedy=_REMEDY)

    def write(self, name: str, data: bytes, content_type: str) -> None:
        """See `Reports.write`."""

        def write() -> None:
            self._client().put_object(
                Bucket=self.bucket, Key=name, Body=data, ContentType=content_type
            )

        call("PutObject", write, self._policy, self._deadline, remedy=_REMEDY)

    def write_stream(self, name: str, chunks: Iterable[bytes], content_type: str) -> None:
        """See `Reports.write_stream`. A failure is not retried here: the chunks are used up."""
        stream: Any = _Stream(iter(chunks))

        def write() -> None:
            self._client().upload_fileobj(
                stream,
                self.bucket,
                name,
                ExtraArgs={"ContentType": content_type},
                Config=_IN_ONE_THREAD,
            )

        once = replace(self._policy, attempts=1)
        what = f"Writing s3://{self.bucket}/{name}"
        call(what, write, once, self._deadline, remedy=_REMEDY)

    def _client(self) -> "S3Client":
        return self._clients.client("s3", self._deadline)


class _Stream:
    """Chunks of bytes as a file."""

    def __init__(self, chunks: Iterator[bytes]) -> None:
        self._chunks = chunks
        self._rest = bytearray()

    def read(self, size: int = -1) -> bytes:
        """Return up to `size` bytes, and fewer only at the end."""
        for chunk in self._chunks:
            self._rest += chunk
            if 0 <= size <= len(self._rest):
                break
        end = len(self._rest) if size < 0 else size
        data = bytes(self._rest[:end])
        del self._rest[:end]
        return data
