"""The state machine that copies large objects, run by moto."""

import json
from collections.abc import Mapping
from dataclasses import dataclass, field

from tools.local.aws import ACCOUNT, REGION, Aws
from tools.local.notifications import Json
from tools.local.runtime import REPOSITORY

WATCH_DELAY_S = 1
MACHINE = REPOSITORY / "statemachines/large-object.asl.json"
QUICK_RETRIES = {"IntervalSeconds": 1, "BackoffRate": 1, "MaxDelaySeconds": 2}
"""Instead of minutes: moto waits as long as Step Functions."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LargeObjects:
    """How a deployment copies large objects. By default, an object of 1 MiB is large."""

    sizes: Mapping[str, str] = field(
        default_factory=lambda: {
            "PARALLEL_FROM": "256 KiB",
            "LARGE_FROM": "1 MiB",
            "PART_SIZE": "64 KiB",
            "SLICE_SIZE": "256 KiB",
        }
    )
    runtimes: int = 3
    """Slices that are staged at the same time."""

    def deploy(self, aws: Aws, function: str) -> dict[str, str]:
        """Create the state machine that invokes a function; return the function's settings.

        A LambdaApi must serve the function by this name.
        """
        machine = aws.create_state_machine(function, _definition(function))
        delay = str(WATCH_DELAY_S)
        return {
            **self.sizes,
            "LARGE_STATE_MACHINE_ARN": machine,
            "WATCH_DELAY_SECONDS": delay,
            "EXECUTION_SETTLE_SECONDS": "0",
        }


def _definition(function: str) -> str:
    """Return the state machine that invokes a function, with short waits."""
    arn = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{function}"
    text = MACHINE.read_text().replace("${FunctionArn}", arn)
    return json.dumps(json.loads(text, object_hook=_quicken))


def _quicken(described: Json) -> Json:
    return {name: QUICK_RETRIES.get(name, value) for name, value in described.items()}
