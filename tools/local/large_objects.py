"""The state machine that copies large objects, run by moto."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from tools.local import state_machines
from tools.local.aws import Aws

WATCH_DELAY_S = 1


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
        machine = state_machines.create(aws, "large-object", function)
        delay = str(WATCH_DELAY_S)
        return {
            **self.sizes,
            "LARGE_STATE_MACHINE_ARN": machine,
            "WATCH_DELAY_SECONDS": delay,
            "EXECUTION_SETTLE_SECONDS": "0",
        }
