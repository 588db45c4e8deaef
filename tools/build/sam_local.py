"""Run the function in Docker by sam: `python -m tools.build.sam_local TEMPLATE`.

`sam local invoke` gets every sample in events/, and `sam local start-api` gets requests, with an
S3, a Secrets Manager and a GCS on this machine. sam exits with 0 whatever the function responds, so
its output is compared with what is expected.
"""

import json
import shlex
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from tools.build import docker_engine
from tools.build.docker_cloud import BUCKET, CONTAINERS_SEE, DockerCloud, docker_cloud
from tools.build.docker_engine import NoDockerError
from tools.common import http, processes
from tools.common.processes import Child, free_port
from tools.local.audit import audit
from tools.local.aws import REGION
from tools.local.runtime import REPOSITORY

EVENTS = REPOSITORY / "events"
SAM = REPOSITORY / ".venv" / "sam" / "bin" / "sam"
FUNCTION = "ReplicateFunction"
NOT_RUN = 3
"""Exit code without Docker: neither a success nor a failure."""

CONTENT = b"a small object"
LARGE = bytes(10 * 1024 * 1024) + b"end"
"""More than fits into one request."""

OBJECTS = {
    "photos/2026/11/harbour.jpg": CONTENT,
    "photos/2026/11/pier.jpg": CONTENT,
    "reports/2026 Q4/a+b = 100% of café, 東京 & %2F.txt": CONTENT,
    "logs/app.log": CONTENT,
    "logs/audit.log": b"",
    "videos/long.mp4": LARGE,
    "archive/harbour.jpg": CONTENT,
    "archive/2019/ledger.csv": CONTENT,
    "by-request.txt": CONTENT,
}

INVOCATIONS = {
    "s3-test-event.json": "",
    "s3-put.json": "replicated (created)",
    "s3-put-encoded-key.json": "replicated (created)",
    "s3-put-multiple.json": "replicated (created), replicated (created)",
    "s3-put-malformed-record.json": "raised BatchFailedError: 1 of 2",
    "s3-multipart-complete.json": "replicated (created)",
    "s3-copy.json": "replicated (created)",
    "s3-restore-completed.json": "replicated (created)",
    "api-v2.json": "200 skipped (current)",
    "api-v1.json": "200 skipped (current)",
    "api-v2-malformed-body.json": "400 invalid_request",
    "not-ours.json": "raised InvalidEventError",
    "s3-delete.json": "deleted (deleted)",
    "s3-delete-marker.json": "deleted (deleted)",
    "s3-lifecycle-expiration.json": "skipped (current)",
    "s3-tagging.json": "skipped (current)",
    "eventbridge-object-created.json": "skipped (current)",
    "eventbridge-object-deleted.json": "skipped (source_gone)",
    "eventbridge-lifecycle-expiration.json": "skipped (current)",
    "eventbridge-restore-completed.json": "skipped (current)",
    "eventbridge-tags-added.json": "skipped (current)",
    "failure-record.json": "skipped (current)",
    "sns-s3.json": "skipped (current)",
    "sqs-s3.json": "0 messages failed",
    "sqs-eventbridge.json": "0 messages failed",
    "sqs-sns.json": "0 messages failed",
    "sqs-poison.json": "1 messages failed",
    "sqs-failure-record.json": "0 messages failed",
    "sqs-dead-letter.json": "0 messages failed",
    "sqs-retried-event.json": "0 messages failed",
    "sqs-execution-watch.json": "0 messages failed",
    "sqs-nomination.json": "0 messages failed",
    "batch-operations-1.0.json": "Succeeded: skipped",
    "batch-operations-2.0.json": "Succeeded: skipped",
}
"""The sample events in an order that works, each with the beginning of the function's response."""

DELETED_BEFORE = {
    "s3-delete.json": "photos/2026/11/harbour.jpg",
    "s3-delete-marker.json": "photos/2026/11/pier.jpg",
}

REQUESTS = [
    ({"s3_bucket": BUCKET, "s3_key": "by-request.txt"}, "201 replicated (created)"),
    ({"s3_bucket": BUCKET, "s3_key": "by-request.txt"}, "200 skipped (current)"),
    ({"s3_bucket": BUCKET, "s3_key": "nothing"}, "404 object_not_found"),
    ({"s3_bucket": "another", "s3_key": "a"}, "403 source_not_allowed"),
    ({"s3_bucket": BUCKET}, "400 invalid_request"),
]
"""Bodies for the API, each with the beginning of the response."""


def main() -> int:
    """Run everything; return 0 when all responses are as expected."""
    (template,) = sys.argv[1:]
    try:
        docker_engine.require_image()
    except NoDockerError as error:
        print(f"make sam-local was not run: {error}", file=sys.stderr)
        return NOT_RUN
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="sam-local-")))
        cloud = stack.enter_context(docker_cloud(folder, docker_engine.gateway()))
        for key, content in OBJECTS.items():
            cloud.aws.s3.put_object(Bucket=BUCKET, Key=key, Body=content)
        sam = Sam(template, folder, cloud)
        results = [*sam.invoke_samples(), *sam.send_requests(), is_replicated(cloud)]
    print(f"\n{sum(results)} of {len(results)} as expected.")
    return 0 if all(results) else 1


class Sam:
    """sam's commands for one template. The function uses a cloud on this machine."""

    def __init__(self, template: str, folder: Path, cloud: DockerCloud) -> None:
        self._cloud = cloud
        self._folder = folder
        variables = folder / "variables.json"
        variables.write_text(json.dumps({FUNCTION: cloud.function_environment}))
        self._options = [
            *("--template", template, "--env-vars", str(variables), "--skip-pull-image"),
            *("--add-host", f"{CONTAINERS_SEE}:host-gateway"),
        ]
        # Without credentials sam gives the function made-up ones, which these stores accept.
        self._environment = {
            **processes.plain_environment(),
            "HOME": str(folder),
            "DOCKER_HOST": docker_engine.host(),
            "AWS_DEFAULT_REGION": REGION,
            "SAM_CLI_TELEMETRY": "0",
        }

    def invoke_samples(self) -> Iterator[bool]:
        """Invoke the function with each sample; yield whether it responds as expected."""
        for name, expected in INVOCATIONS.items():
            if key := DELETED_BEFORE.get(name):
                self._cloud.aws.s3.delete_object(Bucket=BUCKET, Key=key)
            arguments = ["local", "invoke", FUNCTION, "--event", f"events/{name}"]
            print(f"\n$ sam {shlex.join(arguments)}")
            done = subprocess.run(  # noqa: S603 - sam, with our own arguments
                [SAM, *arguments, *self._options],
                env=self._environment,
                cwd=REPOSITORY,
                capture_output=True,
                text=True,
                check=False,
            )
            print(done.stdout.strip() or done.stderr.strip())
            try:
                summary = summarize(json.loads(done.stdout))
            except ValueError:
                summary = "no response"
            yield _is_expected(summary, expected)

    def send_requests(self) -> Iterator[bool]:
        """Post each body to the API; yield whether it responds as expected."""
        with self._api() as url:
            for body, expected in REQUESTS:
                print(f"\n$ POST {url} {json.dumps(body)}")
                response = http.send("POST", url, json=body)
                print(response.text)
                result = {"statusCode": response.status_code, "body": response.text}
                yield _is_expected(summarize(result), expected)

    @contextmanager
    def _api(self) -> Iterator[str]:
        """Run `sam local start-api`; yield the URL of its route."""
        port = free_port()
        arguments = ["local", "start-api", "--warm-containers", "EAGER", "--port", str(port)]
        print(f"\n$ sam {shlex.join(arguments)}")
        api = Child(
            [SAM, *arguments, *self._options],
            env=self._environment,
            log=self._folder / "start-api.log",
            cwd=REPOSITORY,
        )
        try:
            api.wait_for_port(port)
            yield f"http://127.0.0.1:{port}/v1/replicate"
        finally:
            api.stop()


def summarize(result: Mapping[str, Any]) -> str:
    """Return a short form of what the function returned or raised."""
    if "errorType" in result:
        return f"raised {result['errorType']}: {result['errorMessage']}"
    if "batchItemFailures" in result:
        return f"{len(result['batchItemFailures'])} messages failed"
    if "invocationSchemaVersion" in result:
        return ", ".join(f"{r['resultCode']}: {r['resultString']}" for r in result["results"])
    if "statusCode" not in result:
        return ", ".join(map(_outcome, result["results"]))
    body = json.loads(result["body"])
    outcome = body["error"]["code"] if "error" in body else _outcome(body)
    return f"{result['statusCode']} {outcome}"


def _outcome(result: Mapping[str, Any]) -> str:
    return f"{result['status']} ({result['reason']})"


def _is_expected(summary: str, expected: str) -> bool:
    same = summary.startswith(expected) and bool(summary) == bool(expected)
    print("-> as expected" if same else f"-> NOT AS EXPECTED: {expected or 'no changes'}")
    return same


def is_replicated(cloud: DockerCloud) -> bool:
    """Download both sides; return whether every remaining object is equal."""
    print("\nCompare both buckets, byte for byte")
    pairs = audit(cloud.aws.s3, [BUCKET], cloud.google.bucket)
    expected = OBJECTS.keys() - set(DELETED_BEFORE.values())
    unequal = [pair.name for pair in pairs if not pair.equal]
    complete = {pair.name for pair in pairs} == expected
    return _is_expected("equal" if complete and not unequal else f"different: {unequal}", "equal")


if __name__ == "__main__":
    sys.exit(main())
