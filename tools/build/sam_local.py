"""Run the function in Docker, as sam does it: `python -m tools.build.sam_local TEMPLATE`.

Every sample in events/ goes through `sam local invoke`, and requests go through `sam local
start-api`, against an S3, a Secrets Manager and a GCS on this machine. sam exits with 0
whatever the function did: so what it printed is compared with what is expected.
"""

import json
import shlex
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

from tools.build import docker_engine
from tools.build.docker_cloud import BUCKET, REPLICA, DockerCloud, docker_cloud
from tools.build.docker_engine import NoDockerError
from tools.common import processes
from tools.common.processes import Child, free_port

REPOSITORY = Path(__file__).resolve().parents[2]
EVENTS = REPOSITORY / "events"
SAM = REPOSITORY / ".venv" / "sam" / "bin" / "sam"
FUNCTION = "ReplicateFunction"
NOT_RUN = 3
"""Exit code where there is no Docker: neither a success nor a failure."""

CONTENT = b"a small object"
LARGE = bytes(10 * 1024 * 1024) + b"end"
"""More than fits in one request."""

ENCODED = "reports/2026 Q4/a+b = 100% of café, 東京 & %2F.txt"
OBJECTS = {
    "photos/2026/11/harbour.jpg": CONTENT,
    "photos/2026/11/pier.jpg": CONTENT,
    ENCODED: CONTENT,
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
    "sqs-s3.json": "0 messages failed",
    "sqs-eventbridge.json": "0 messages failed",
    "sqs-sns.json": "0 messages failed",
    "sqs-poison.json": "1 messages failed",
    "sqs-failure-record.json": "0 messages failed",
    "batch-operations-1.0.json": "Succeeded: skipped",
    "batch-operations-2.0.json": "Succeeded: skipped",
}
"""Each sample event and how what the function says begins, in an order in which they make sense."""

DELETED_BEFORE = {
    "s3-delete.json": "photos/2026/11/harbour.jpg",
    "s3-delete-marker.json": "photos/2026/11/pier.jpg",
}

REQUESTS = [
    (json.dumps({"s3_bucket": BUCKET, "s3_key": "by-request.txt"}), "201 replicated (created)"),
    (json.dumps({"s3_bucket": BUCKET, "s3_key": "by-request.txt"}), "200 skipped (current)"),
    (json.dumps({"s3_bucket": BUCKET, "s3_key": "nothing"}), "404 object_not_found"),
    (json.dumps({"s3_bucket": "another", "s3_key": "a"}), "403 source_not_allowed"),
    (json.dumps({"s3_bucket": BUCKET}), "400 invalid_request"),
]
"""Bodies for the API and how its answers begin."""


def main() -> int:
    """Run everything; the number of answers that were not as expected, if any, fails it."""
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
            cloud.put(key, content)
        sam = Sam(template, folder, cloud)
        results = [*sam.invocations(), *sam.requests(), _compared(cloud)]
    print(f"\n{sum(results)} of {len(results)} as expected.")
    return 0 if all(results) else 1


class Sam:
    """sam's commands on one template, with the function pointed at a cloud."""

    def __init__(self, template: str, folder: Path, cloud: DockerCloud) -> None:
        self._cloud = cloud
        self._folder = folder
        variables = folder / "variables.json"
        variables.write_text(json.dumps({FUNCTION: cloud.function_environment}))
        self._options = [
            *("--template", template, "--env-vars", str(variables), "--skip-pull-image"),
            *("--add-host", "host.docker.internal:host-gateway"),
        ]
        # No credentials and no profile: the function gets made-up ones, which these stores take.
        self._environment = {
            **processes.plain_environment(),
            "HOME": str(folder),
            "DOCKER_HOST": docker_engine.host(),
            "AWS_DEFAULT_REGION": "us-east-1",
            "SAM_CLI_TELEMETRY": "0",
        }

    def invocations(self) -> Iterator[bool]:
        """Invoke the function with each sample; whether it said what it should."""
        for name, expected in INVOCATIONS.items():
            if key := DELETED_BEFORE.get(name):
                self._cloud.delete(key)
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
            with suppress(ValueError):  # not JSON: the function did not even start
                yield _as_expected(_told(json.loads(done.stdout)), expected)
                continue
            yield _as_expected("no answer", expected)

    def requests(self) -> Iterator[bool]:
        """Post each request to the API; whether it answered what it should."""
        with self._api() as url:
            for body, expected in REQUESTS:
                arguments = ["-sS", "-X", "POST", url, "-H", "Content-Type: application/json"]
                arguments += ["-d", body, "-w", r"\n%{http_code}"]
                print(f"\n$ curl {shlex.join(arguments)}")
                done = subprocess.run(  # noqa: S603 - curl, with our own arguments
                    ["curl", *arguments],  # noqa: S607 - wherever it is
                    capture_output=True,
                    text=True,
                    check=True,
                )
                print(done.stdout)
                answer, _, status = done.stdout.rpartition("\n")
                told = _told({"statusCode": int(status), "body": answer})
                yield _as_expected(told, expected)

    @contextmanager
    def _api(self) -> Iterator[str]:
        """`sam local start-api` while the block lasts; its route's address."""
        port = free_port()
        print(f"\n$ sam local start-api --port {port} --warm-containers EAGER")
        api = Child(
            [
                *(SAM, "local", "start-api", "--warm-containers", "EAGER", "--port", str(port)),
                *self._options,
            ],
            env=self._environment,
            log=self._folder / "start-api.log",
            cwd=REPOSITORY,
        )
        try:
            api.wait_for_port(port)
            yield f"http://127.0.0.1:{port}/v1/replicate"
        finally:
            api.stop()


def _told(result: Mapping[str, Any]) -> str:
    """What the function said, in a few words."""
    if "errorType" in result:
        return f"raised {result['errorType']}: {result['errorMessage']}"
    if "batchItemFailures" in result:
        return f"{len(result['batchItemFailures'])} messages failed"
    if "invocationSchemaVersion" in result:
        return ", ".join(f"{r['resultCode']}: {r['resultString']}" for r in result["results"])
    if "statusCode" not in result:
        return ", ".join(map(_outcome, result["results"]))
    body = json.loads(result["body"])
    said = body["error"]["code"] if "error" in body else _outcome(body)
    return f"{result['statusCode']} {said}"


def _outcome(told: Mapping[str, Any]) -> str:
    return f"{told['status']} ({told['reason']})"


def _as_expected(told: str, expected: str) -> bool:
    same = told.startswith(expected) and bool(told) == bool(expected)
    print("-> as expected" if same else f"-> NOT AS EXPECTED: {expected or 'no changes'}")
    return same


def _compared(cloud: DockerCloud) -> bool:
    """Whether GCS holds what S3 holds, byte for byte."""
    expected = {k: v for k, v in OBJECTS.items() if k not in DELETED_BEFORE.values()}
    print(f"\nCompare s3://{BUCKET} with gs://{REPLICA}, byte for byte")
    return _as_expected(
        "equal" if cloud.replicas() == expected else f"different: {sorted(cloud.replicas())}",
        "equal",
    )


if __name__ == "__main__":
    started = time.monotonic()
    code = main()
    print(f"{time.monotonic() - started:.0f} s")
    sys.exit(code)
