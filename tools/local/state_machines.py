"""The state machines of statemachines/, run by moto."""

import json

from tools.local.aws import ACCOUNT, REGION, Aws
from tools.local.notifications import Json
from tools.local.runtime import REPOSITORY

QUICK_RETRIES = {"IntervalSeconds": 1, "BackoffRate": 1, "MaxDelaySeconds": 2}
"""Instead of minutes: moto waits as long as Step Functions."""


def create(aws: Aws, machine: str, function: str) -> str:
    """Create a state machine that invokes a function, with short waits; return its ARN.

    `machine` is the name of its file. A LambdaApi must serve the function by its name.
    """
    arn = f"arn:aws:lambda:{REGION}:{ACCOUNT}:function:{function}"
    text = (REPOSITORY / f"statemachines/{machine}.asl.json").read_text()
    definition = json.loads(text.replace("${FunctionArn}", arn), object_hook=_quicken)
    return aws.create_state_machine(f"{function}-{machine}", json.dumps(definition))


def _quicken(described: Json) -> Json:
    return {name: QUICK_RETRIES.get(name, value) for name, value in described.items()}
