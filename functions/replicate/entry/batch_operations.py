"""Tasks of S3 Batch Operations jobs.

A job invokes the function for each line of its manifest and writes the response into its completion
report. Keys are URL-encoded. Schema 1.0 has the bucket's ARN, schema 2.0 its name.
Source: "Invoke AWS Lambda function" in S3's user guide.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any, ClassVar

from replicate.entry.invocation import Change, Context, Invocation, Message, Results
from replicate.entry.reading import decoded, reading, source_ref
from replicate.errors import InvalidEventError, ReplicationError
from replicate.protocol.evidence import REQUEST

MAX_RESULT_CHARACTERS = 1024
"""Longest text of a task in the completion report."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BatchOperationsInvocation(Invocation):
    """Tasks of one job. Each message is a task."""

    invocation_id: str
    schema_version: str

    reports_failures: ClassVar[bool] = True

    def respond(self, results: Results) -> dict[str, Any]:
        """Report each task."""
        return {
            "invocationSchemaVersion": self.schema_version,
            "treatMissingKeysAs": "PermanentFailure",
            "invocationId": self.invocation_id,
            "results": [_task_result(message, results) for message in self.messages],
        }


def parse_invocation(
    event: Mapping[str, Any], _now: datetime, _context: Context
) -> BatchOperationsInvocation:
    """Read the tasks. Raise InvalidEventError."""
    with reading("an S3 Batch Operations event"):
        return BatchOperationsInvocation(
            messages=tuple(_message(task) for task in event["tasks"]),
            invocation_id=event["invocationId"],
            schema_version=event["invocationSchemaVersion"],
        )


def _message(task: Mapping[str, Any]) -> Message:
    """Read a task. Its version is ignored: the function replicates what S3 holds now."""
    task_id = task["taskId"]
    try:
        with reading("a task of S3 Batch Operations"):
            bucket = task.get("s3Bucket") or task["s3BucketArn"].rpartition(":")[2]
            ref = source_ref(bucket, decoded(task["s3Key"]))
            return Message(task_id, (Change(ref, evidence=REQUEST),))
    except InvalidEventError as error:
        return Message(task_id, errors=(error,))


def _task_result(message: Message, results: Results) -> dict[str, str]:
    """Report one task in a line of the completion report."""
    result = message.errors[0] if message.errors else results[message.changes[0].ref]
    if isinstance(result, ReplicationError):
        code = "TemporaryFailure" if result.retryable else "PermanentFailure"
        text = f"{result.code}: {result.message}"
    else:
        code = "Succeeded"
        text = f"{result.reason.status}: {result.reason} {result.uri}"
        if result.execution:
            text += f": the execution {result.execution} copies the object"
    text = text[:MAX_RESULT_CHARACTERS]
    return {"taskId": message.id, "resultCode": code, "resultString": text}
