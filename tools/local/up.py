"""`make up`: run the local cloud until Ctrl-C."""

import shlex
import shutil
import signal
import sys
import time

from rich.console import Console
from rich.markup import escape

from tools.common.command import end_on_signals, forget_other_clouds
from tools.common.processes import ChildError
from tools.common.tables import duration, size
from tools.local import output
from tools.local.cloud import API_ONLY_BUCKET, REPLICA, SOURCE, LocalCloud, local_cloud
from tools.local.lambda_service import Delivery
from tools.local.notifications import Json
from tools.local.runtime import REPOSITORY


def main() -> int:
    """Run until a signal; print a line for each change that the function replicates."""
    end_on_signals()
    forget_other_clouds()
    console = output.console()
    try:
        with local_cloud(on_delivery=lambda delivery: _show(console, delivery)) as cloud:
            console.print(_introduction(cloud), markup=False, soft_wrap=True)  # to be copied
            signal.pause()
    except KeyboardInterrupt:
        console.print("\nEvery process has been stopped.")
    except ChildError as error:
        console.print(str(error), style="red", markup=False)
        return 1
    return 0


def _introduction(cloud: LocalCloud) -> str:
    """Return lines to paste into a shell: the environment and some commands."""
    variables = {
        **cloud.aws.environment,
        "AWS_DEFAULT_REGION": cloud.aws.environment["AWS_REGION"],
        "SOURCE_BUCKET": SOURCE,
        "API_URL": cloud.api.url,
        "GCS_URL": cloud.google.url,
        "NO_PROXY": "127.0.0.1",
    }
    exports = "\n".join(f"export {name}={shlex.quote(v)}" for name, v in variables.items())
    aws = f"{_aws_command()} --endpoint-url {cloud.aws.endpoint_url}"
    return f"""\
# S3 → Lambda → GCS on this machine. For another terminal:
{exports}

# An upload to s3://{SOURCE} replicates by itself:
echo hello | {aws} s3 cp - s3://{SOURCE}/hello.txt

# s3://{API_ONLY_BUCKET} sends no events; the API replicates an object of it:
echo please | {aws} s3 cp - s3://{API_ONLY_BUCKET}/requested.txt
curl -i $API_URL/v1/replicate -H 'Content-Type: application/json' \\
  -d '{{"s3_bucket": "{API_ONLY_BUCKET}", "s3_key": "requested.txt"}}'

# The objects in gs://{REPLICA}:
TOKEN=$(curl -s -X POST $GCS_URL/_local/tokens | cut -d'"' -f4)
curl -s -H "Authorization: Bearer $TOKEN" \\
  "$GCS_URL/storage/v1/b/{REPLICA}/o?fields=items(name,size,crc32c,generation,metadata)"

# The function's log: {cloud.function.log}
# Ctrl-C stops everything."""


def _show(console: Console, delivery: Delivery) -> None:
    """Print a line for each result, or the error."""
    now = time.strftime("%H:%M:%S")
    for result in delivery.results:
        console.print(f"{now} {output.GOOD} {escape(_line(result))}", soft_wrap=True)
    if delivery.error:
        failure = f"after {delivery.attempts} attempts: {delivery.error}"
        console.print(f"{now} {output.BAD} {escape(failure)}", soft_wrap=True)


def _line(result: Json) -> str:
    source, destination = result["source"], result["destination"]["uri"]
    elapsed = duration(result["elapsed_ms"] / 1000)
    return (
        f"s3://{source['bucket']}/{source['key']} → {destination}"
        f"  {result['reason']}, {size(result['bytes_copied'])} copied in {elapsed}"
    )


def _aws_command() -> str:
    """Return the AWS command line: the user's, or the one that `make setup` installs."""
    return "aws" if shutil.which("aws") else shlex.quote(str(REPOSITORY / ".venv/sam/bin/aws"))


if __name__ == "__main__":
    sys.exit(main())
