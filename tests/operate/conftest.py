"""A deployed stack in moto: what template.yaml would create, as far as the commands look at it."""

import io
import json
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import boto3
import pytest
from moto import mock_aws
from moto.awslambda_simple.models import lambda_simple_backends
from moto.core.config import DefaultConfig
from moto.core.models import DEFAULT_ACCOUNT_ID as ACCOUNT
from moto.s3.models import s3_backends
from typer.testing import CliRunner, Result

from tools.operate.__main__ import app
from tools.operate.expected import Pattern, wanted_events, wanted_filter, wanted_pattern
from tools.operate.stack import Stack, find

REGION = "us-east-1"
BUCKET = "my-source"
REPORTS = "my-reports"
RULE = "to-replicator"
LOG_GROUP = "my-stack-FunctionLogGroup"
HEALTHY = {"healthy": True, "hops": [{"hop": "canary", "ok": True, "found": "written"}]}
CONFIG: DefaultConfig = {
    "lambda": {"use_docker": False},
    "stepfunctions": {"execute_state_machine": True},
}


ENDED = {
    "Type": "Pass",
    "End": True,
    "Parameters": {"run.$": "States.Format('run-{}', $.mode)", "input.$": "$"},
}
"""The only state of the workflow: a run has the mode as its name, and ends at once."""


def client(service: str) -> Any:  # noqa: ANN401 - boto3's, of any service
    build: Any = boto3.client
    return build(service)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deployed:
    """The parts of the stack, to be damaged by a test."""

    function: str
    event_queue: str
    failure_queue: str
    topic: str
    rule: str

    def doctor_responds(self, report: object) -> None:
        """Let the function's doctor return this, once."""
        queue = lambda_simple_backends[ACCOUNT][REGION].lambda_simple_results_queue
        queue.append(json.dumps(report))

    def fail(self, *events: object) -> None:
        """Put bodies into the dead-letter queue."""
        for event in events:
            client("sqs").send_message(QueueUrl=self.failure_queue, MessageBody=json.dumps(event))


Deploy = Callable[..., Deployed]
Run = Callable[..., Result]


@pytest.fixture(autouse=True)
def aws(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Run an empty AWS in this process."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)
    with mock_aws(config=CONFIG):
        yield


@pytest.fixture
def deploy() -> Deploy:
    """Return a function that creates the stack with these parameters."""

    def create(
        name: str = "my-stack",
        *,
        polled: bool = True,
        reconciles: bool = True,
        ended: dict[str, Any] = ENDED,
        **parameters: str,
    ) -> Deployed:
        by_queue = parameters.get("Delivery") == "queue"
        key = parameters.get("KmsKeyArn", "")
        failure_queue, failure_arn = _queue("failures", 14, KmsMasterKeyId=key)
        redrive = json.dumps({"deadLetterTargetArn": failure_arn, "maxReceiveCount": 5})
        event_queue, event_arn = _queue("events", 12, RedrivePolicy=redrive, KmsMasterKeyId=key)
        function = _function()
        target = event_arn if by_queue else function
        functions = client("lambda")
        if polled:
            functions.create_event_source_mapping(
                EventSourceArn=event_arn, FunctionName=function, BatchSize=10
            )
        functions.put_function_event_invoke_config(
            FunctionName=function, DestinationConfig={"OnFailure": {"Destination": event_arn}}
        )
        rule = ""
        client("s3").create_bucket(Bucket=BUCKET)
        if parameters.get("SourceBucketKind") == "existing":
            rule = put_rule(wanted_pattern(BUCKET, parameters))
            dead_letters = {"Arn": failure_arn}
            client("events").put_targets(
                Rule=RULE, Targets=[{"Id": "it", "Arn": target, "DeadLetterConfig": dead_letters}]
            )
            _let(failure_queue, failure_arn, "events.amazonaws.com", rule)
            notify({"EventBridgeConfiguration": {}})
            sender = ("events.amazonaws.com", rule)
        else:
            sender = ("s3.amazonaws.com", f"arn:aws:s3:::{BUCKET}")
            if by_queue:
                _let(event_queue, event_arn, *sender)
            notify(document(target, **parameters))
        if by_queue:
            _let(event_queue, event_arn, *sender)
        else:
            functions.add_permission(
                FunctionName=function,
                StatementId="it",
                Action="lambda:InvokeFunction",
                Principal=sender[0],
                SourceArn=sender[1],
            )
        topic = client("sns").create_topic(Name="alarms")["TopicArn"]
        client("sns").subscribe(TopicArn=topic, Protocol="sms", Endpoint="+15551234567")
        _alarm(topic)
        outputs = {
            "FunctionArn": function,
            "SourceBucketName": BUCKET,
            "EventQueueArn": event_arn,
            "FailureQueueArn": failure_arn,
            "StateMachineArn": _machine("large-objects", {"Type": "Pass", "End": True}),
            "AlarmTopicArn": topic,
            "FunctionLogGroupName": LOG_GROUP,
        }
        if reconciles:
            machine = _machine("reconcile", ended)
            outputs |= {"ReconcileMachineArn": machine, "ReportsBucketName": REPORTS}
        client("s3").create_bucket(Bucket=REPORTS)
        register(client("cloudformation"), name, outputs, parameters)
        return Deployed(
            function=function,
            event_queue=event_queue,
            failure_queue=failure_queue,
            topic=topic,
            rule=rule,
        )

    return create


@pytest.fixture
def run() -> Run:
    """Return a function that runs the command line."""

    def invoke(*arguments: str, typed: str = "") -> Result:
        return CliRunner().invoke(app, arguments, input=typed, env={"COLUMNS": "200"})

    return invoke


def register(
    cloudformation: Any,  # noqa: ANN401 - boto3's
    name: str,
    outputs: dict[str, str],
    parameters: dict[str, str] | None = None,
) -> None:
    """Create a CloudFormation stack that has only these outputs and parameters."""
    parameters = parameters or {}
    template = {
        "Parameters": {parameter: {"Type": "String"} for parameter in parameters},
        "Resources": {"Nothing": {"Type": "AWS::SQS::Queue"}},
        "Outputs": {output: {"Value": value} for output, value in outputs.items()},
    }
    cloudformation.create_stack(
        StackName=name,
        TemplateBody=json.dumps(template),
        Parameters=[{"ParameterKey": k, "ParameterValue": v} for k, v in parameters.items()],
    )


def document(target: str, **parameters: str) -> dict[str, Any]:
    """Return the notification document of a new bucket with these parameters."""
    rules = [{"Name": name, "Value": each} for name, each in wanted_filter(parameters).items()]
    sent = {
        "Events": sorted(wanted_events(parameters)),
        **({"Filter": {"Key": {"FilterRules": rules}}} if rules else {}),
    }
    kind, arn = (
        ("Queue", "QueueArn") if ":sqs:" in target else ("LambdaFunction", "LambdaFunctionArn")
    )
    return {f"{kind}Configurations": [{arn: target, **sent}]}


def notify(configuration: dict[str, Any]) -> None:
    client("s3").put_bucket_notification_configuration(
        Bucket=BUCKET, NotificationConfiguration=configuration
    )


def put_rule(pattern: Pattern) -> str:
    """Give the rule this pattern. Return its ARN."""
    put = client("events").put_rule(Name=RULE, EventPattern=json.dumps(pattern))
    return str(put["RuleArn"])


def find_stack(name: str = "my-stack") -> Stack:
    """Find the stack, with the parts of S3's responses that moto leaves out."""

    def add_eventbridge(parsed: dict[str, Any], **_: object) -> None:
        configuration = s3_backends[ACCOUNT]["aws"].buckets[BUCKET].notification_configuration
        if configuration and configuration.event_bridge is not None:
            parsed["EventBridgeConfiguration"] = {}

    stack = find(name)
    operation = "after-call.s3.GetBucketNotificationConfiguration"
    stack.session.events.register(operation, add_eventbridge)
    return stack


def _queue(name: str, days: int, **attributes: str) -> tuple[str, str]:
    """Create a queue; return its URL and ARN."""
    set_ = {name: value for name, value in attributes.items() if value}
    set_["MessageRetentionPeriod"] = str(days * 24 * 3600)
    url = client("sqs").create_queue(QueueName=name, Attributes=set_)["QueueUrl"]
    return url, f"arn:aws:sqs:{REGION}:{ACCOUNT}:{name}"


def _let(url: str, arn: str, service: str, source: str) -> None:
    """Let a service send to a queue."""
    statement = {
        "Effect": "Allow",
        "Principal": {"Service": service},
        "Action": "sqs:SendMessage",
        "Resource": arn,
        "Condition": {"ArnEquals": {"aws:SourceArn": source}},
    }
    policy = json.dumps({"Version": "2012-10-17", "Statement": [statement]})
    client("sqs").set_queue_attributes(QueueUrl=url, Attributes={"Policy": policy})


def _function() -> str:
    role = client("iam").create_role(RoleName="role", AssumeRolePolicyDocument="{}")["Role"]["Arn"]
    code = io.BytesIO()
    with zipfile.ZipFile(code, "w") as archive:
        archive.writestr("handler.py", "")
    created = client("lambda").create_function(
        FunctionName="replicate",
        Runtime="python3.13",
        Role=role,
        Handler="handler.handler",
        Code={"ZipFile": code.getvalue()},
    )
    return str(created["FunctionArn"])


def _alarm(topic: str) -> None:
    client("cloudwatch").put_metric_alarm(
        AlarmName="lag",
        AlarmActions=[topic],
        Namespace="S3ToGcs",
        MetricName="ReplicationLag",
        Statistic="Maximum",
        Period=300,
        EvaluationPeriods=1,
        ComparisonOperator="GreaterThanThreshold",
        Threshold=1,
    )


def _machine(name: str, state: dict[str, Any]) -> str:
    definition = json.dumps({"StartAt": "It", "States": {"It": state}})
    return str(
        client("stepfunctions").create_state_machine(
            name=name, definition=definition, roleArn=f"arn:aws:iam::{ACCOUNT}:role/role"
        )["stateMachineArn"]
    )
