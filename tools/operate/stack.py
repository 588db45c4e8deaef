"""A deployed stack: what CloudFormation says of it, and clients for its region."""

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import boto3
from botocore.exceptions import ClientError

from tools.operate.errors import OperatorError

if TYPE_CHECKING:
    from types_boto3_cloudwatch.type_defs import MetricAlarmTypeDef


@dataclass(frozen=True, slots=True, kw_only=True)
class Stack:
    """Find it with `find`."""

    name: str
    status: str
    session: boto3.Session
    outputs: Mapping[str, str]
    parameters: Mapping[str, str]

    def output(self, name: str) -> str:
        """Return an output. Raise OperatorError if the stack has none of this name."""
        if found := self.outputs.get(name):
            return found
        raise OperatorError(
            f"The stack {self.name} has no output {name}. Check the name of the stack. If it is"
            " of an older version, run make deploy first."
        )

    def queue_url(self, output: str) -> str:
        """Return the URL of the queue whose ARN is this output."""
        *_, account, name = self.output(output).split(":")
        sqs = self.session.client("sqs")
        return sqs.get_queue_url(QueueName=name, QueueOwnerAWSAccountId=account)["QueueUrl"]

    def alarms(self) -> list["MetricAlarmTypeDef"]:
        """Return the alarms that notify the stack's topic."""
        pages = self.session.client("cloudwatch").get_paginator("describe_alarms")
        found = pages.paginate(ActionPrefix=self.output("AlarmTopicArn"))
        return [alarm for page in found for alarm in page["MetricAlarms"]]


def in_alarm(alarms: Iterable["MetricAlarmTypeDef"]) -> list[str]:
    """Return the names of the alarms that fire."""
    return [alarm["AlarmName"] for alarm in alarms if alarm["StateValue"] == "ALARM"]


def find(name: str) -> Stack:
    """Ask CloudFormation for a stack. Raise OperatorError if there is none of this name."""
    if not name:
        raise OperatorError("Name the stack: STACK=s3-to-gcs")
    session = boto3.Session(region_name=os.environ.get("AWS_REGION"))
    try:
        (found,) = session.client("cloudformation").describe_stacks(StackName=name)["Stacks"]
    except ClientError as error:
        if "does not exist" not in str(error):
            raise
        raise OperatorError(
            f"There is no stack {name} in {session.region_name} of this account. Check the name,"
            " AWS_REGION and AWS_PROFILE."
        ) from None
    return Stack(
        name=name,
        status=found["StackStatus"],
        session=session,
        outputs={each["OutputKey"]: each["OutputValue"] for each in found.get("Outputs", [])},
        parameters={
            each["ParameterKey"]: each["ParameterValue"] for each in found.get("Parameters", [])
        },
    )
