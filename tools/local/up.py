"""`make up`: the same cloud as the demo's, to play with until Ctrl-C."""

import shlex
import shutil
import signal
import sys
import time

from rich.console import Console
from rich.markup import escape

from tools.common.processes import ChildError
from tools.local import report
from tools.local.cloud import REPLICA, SILENT, SOURCE, LocalCloud, local_cloud
from tools.local.command import end_on_signals, forget_other_clouds
from tools.local.delivery import Delivery
from tools.local.notifications import Json
from tools.local.report import duration, size
from tools.local.runtime import REPOSITORY

GCS_LISTING = "/storage/v1/b/{bucket}/o?fields=items(name,size,crc32c,generation,metadata)"


def main() -> int:
    """Stay up until told to end; every event is shown as it is carried out."""
    end_on_signals()
    forget_other_clouds()
    console = report.console()
    try:
        with local_cloud(on_delivery=lambda done: _show(console, done)) as cloud:
            _introduce(console, cloud)
            signal.pause()
    except KeyboardInterrupt:
        console.print("\nEverything is stopped again.")
    except ChildError as error:
        console.print(str(error), style="red", markup=False)
        return 1
    return 0


def _introduce(console: Console, cloud: LocalCloud) -> None:
    """Print the environment and commands: as they are, without wrapping, to be copied."""
    exports = {
        **cloud.aws.environment,
        "AWS_DEFAULT_REGION": cloud.aws.environment["AWS_REGION"],
        "SOURCE_BUCKET": SOURCE,
        "API_URL": cloud.api.url,
        "GCS_URL": cloud.google.url,
        "NO_PROXY": "127.0.0.1",
    }
    aws = f"{_aws_command()} --endpoint-url {cloud.aws.endpoint_url}"
    body = f'{{"s3_bucket": "{SILENT}", "s3_key": "asked.txt"}}'
    token = f"$(curl -s -X POST {cloud.google.url}/_local/tokens | cut -d'\"' -f4)"
    for line in (
        "# S3 → Lambda → GCS on this machine. For another terminal:",
        *(f"export {name}={shlex.quote(value)}" for name, value in exports.items()),
        "",
        f"# An upload to s3://{SOURCE} replicates by itself:",
        f"echo hello | {aws} s3 cp - s3://{SOURCE}/hello.txt",
        "",
        f"# s3://{SILENT} sends no events, so ask for the object:",
        f"echo please | {aws} s3 cp - s3://{SILENT}/asked.txt",
        f"curl -i {cloud.api.url}/v1/replicate -H 'Content-Type: application/json' -d '{body}'",
        "",
        f"# What gs://{REPLICA} holds:",
        f'curl -s -H "Authorization: Bearer {token}" \'{cloud.google.url}'
        + GCS_LISTING.format(bucket=REPLICA)
        + "'",
        "",
        f"# The function's log: {cloud.function.log}",
        "# Ctrl-C ends everything.",
    ):
        console.print(line, markup=False, soft_wrap=True)


def _show(console: Console, delivery: Delivery) -> None:
    """One line for each change that an event told of."""
    now = time.strftime("%H:%M:%S")
    for result in delivery.results:
        console.print(f"{now} [green]✓[/] {escape(_line(result))}", soft_wrap=True)
    if delivery.error:
        failure = f"after {delivery.attempts} attempts: {delivery.error}"
        console.print(f"{now} [red]✗[/] {escape(failure)}", soft_wrap=True)


def _line(result: Json) -> str:
    source, destination = result["source"], result["destination"]["uri"]
    elapsed = duration(result["elapsed_ms"] / 1000)
    return (
        f"s3://{source['bucket']}/{source['key']} → {destination}"
        f"  {result['reason']}, {size(result['bytes_copied'])} copied in {elapsed}"
    )


def _aws_command() -> str:
    """The AWS command line: the user's own, or the one that `make setup` installed."""
    return "aws" if shutil.which("aws") else shlex.quote(str(REPOSITORY / ".venv/sam/bin/aws"))


if __name__ == "__main__":
    sys.exit(main())
