"""The doctor's checks from outside: what the function's own role does not see.

    bucket ── notification ──> function or event queue ── mapping ──> function
       └──── EventBridge ── rule ───────^
    failed events ──> dead-letter queue ──> alarms ──> somebody

Each check returns what it found, or raises OperatorError with what to do. A text that begins with
"Warning" is no failure.
"""

import json
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any, NamedTuple

from tools.operate.errors import OperatorError
from tools.operate.expected import (
    Pattern,
    differences,
    wanted_events,
    wanted_filter,
    wanted_pattern,
)
from tools.operate.policies import allows, denials
from tools.operate.stack import Stack, in_alarm

if TYPE_CHECKING:
    from types_boto3_events.type_defs import DescribeRuleResponseTypeDef

Check = Callable[[], str]

ENCRYPT = ("kms:GenerateDataKey", "kms:Decrypt")
"""What a service needs on the key of a queue or topic that it sends to."""

LOG = ("kms:Encrypt", *ENCRYPT)
"""What CloudWatch Logs needs on the key of a log group."""

QUEUES = ("EventQueueArn", "FailureQueueArn")
"""The outputs that name the stack's queues."""

REVERT = 'Look who has changed it, and change it back (docs/OPERATIONS.md, "Changes by hand").'
"""make deploy does not: it compares with the last template, and not with what is there."""


class Sender(NamedTuple):
    """A service that sends to a queue, topic or log by itself, on behalf of a source."""

    output: str
    """The one that names the queue, topic or log."""
    service: str
    source: str
    on_key: Sequence[str] = ENCRYPT
    """What it needs on a key."""


class Checks:
    """The checks of one stack."""

    def __init__(self, stack: Stack) -> None:
        self._stack = stack
        self._client = stack.session.client
        self._function = stack.output("FunctionArn")
        self._bucket = stack.output("SourceBucketName")
        self._by_queue = stack.parameters.get("Delivery") == "queue"
        self._by_eventbridge = stack.parameters.get("SourceBucketKind") == "existing"
        self._target = stack.output("EventQueueArn") if self._by_queue else self._function
        self._queues: dict[str, Mapping[str, str]] = {}

    def all(self) -> Iterator[tuple[str, Check]]:
        """Yield the name of each check that fits the stack, and the check."""
        yield "stack", self._status
        yield f"events of s3://{self._bucket}", self._notifications
        if self._by_eventbridge:
            yield "EventBridge rule", self._rule_target
        if not self._by_queue:
            yield "permission to invoke the function", self._permission
        yield "polling of the event queue", self._mapping
        yield "failed invocations", self._failure_destination
        yield "dead-letter queue", self._dead_letter_queue
        yield "queue policies", self._queue_policies
        yield "keys of queues, alarms and logs", self._keys
        yield "alarms", self._alarms
        yield "alarm subscriptions", self._subscriptions

    def _status(self) -> str:
        if self._stack.status.endswith("_FAILED"):
            raise OperatorError(f"CloudFormation says {self._stack.status}. Its events say why.")
        return self._stack.status

    def _notifications(self) -> str:
        """Check the bucket's notification document, which others can only replace as a whole."""
        found = self._client("s3").get_bucket_notification_configuration(Bucket=self._bucket)
        if self._by_eventbridge:
            if "EventBridgeConfiguration" in found:
                return "sent to EventBridge"
            raise OperatorError(
                f"s3://{self._bucket} does not send its events to EventBridge. docs/DEPLOY.md"
                ' has the command: "An existing bucket".'
            )
        to_lambda = found.get("LambdaFunctionConfigurations", [])
        to_queues = found.get("QueueConfigurations", [])
        sent: list[tuple[str, Mapping[str, Any]]]
        sent = [(each["LambdaFunctionArn"], each) for each in to_lambda]
        sent += [(each["QueueArn"], each) for each in to_queues]
        keys = wanted_filter(self._stack.parameters)
        events = {
            event
            for arn, each in sent
            if arn == self._target and _filter(each) == keys
            for event in each["Events"]
        }
        if missing := sorted(wanted_events(self._stack.parameters) - events):
            raise OperatorError(
                f"s3://{self._bucket} does not send {', '.join(missing)}{_of(keys)} to"
                f" {self._target}: its notifications were replaced. {REVERT}"
            )
        return f"sent to {self._target}"

    def _rule(self) -> "DescribeRuleResponseTypeDef":
        """Return the rule for the bucket's events. Raise OperatorError if there is none."""
        events = self._client("events")
        for name in events.list_rule_names_by_target(TargetArn=self._target)["RuleNames"]:
            rule = events.describe_rule(Name=name)
            if self._bucket in _pattern(rule).get("detail", {}).get("bucket", {}).get("name", []):
                return rule
        raise OperatorError(f"No rule sends events of the bucket to {self._target}. {REVERT}")

    def _rule_target(self) -> str:
        rule = self._rule()
        name = rule["Name"]
        if not rule["State"].startswith("ENABLED"):
            raise OperatorError(f"Disabled: run aws events enable-rule --name {name}")
        wanted = wanted_pattern(self._bucket, self._stack.parameters)
        if others := differences(_pattern(rule), wanted):
            raise OperatorError(f"In the pattern of {name} {'; '.join(others)}. {REVERT}")
        for target in self._client("events").list_targets_by_rule(Rule=name)["Targets"]:
            dead_letters = target.get("DeadLetterConfig", {}).get("Arn")
            if target["Arn"] == self._target and dead_letters != self._stack.output(QUEUES[1]):
                raise OperatorError(f"The rule {name} loses what it cannot deliver. {REVERT}")
        return f"{name} is enabled"

    def _permission(self) -> str:
        functions, policy = self._client("lambda"), ""
        with suppress(functions.exceptions.ResourceNotFoundException):
            policy = functions.get_policy(FunctionName=self._function)["Policy"]
        service, source = self._service()
        if not allows(policy, service, "lambda:InvokeFunction", source):
            raise OperatorError(f"{service} may not invoke the function for {source}. {REVERT}")
        return f"granted to {service} for {source}"

    def _mapping(self) -> str:
        mappings = self._client("lambda").list_event_source_mappings(
            EventSourceArn=self._stack.output("EventQueueArn"), FunctionName=self._function
        )["EventSourceMappings"]
        if not mappings:
            raise OperatorError(f"Nothing takes events out of the queue. {REVERT}")
        (mapping,) = mappings
        if mapping["State"] in {"Disabled", "Disabling"}:
            raise OperatorError(
                "The queue is not polled: events and retries wait. Run aws lambda"
                f" update-event-source-mapping --enabled --uuid {mapping['UUID']}"
            )
        return f"{mapping['State'].lower()}, batches of {mapping['BatchSize']}"

    def _failure_destination(self) -> str:
        functions, found = self._client("lambda"), None
        with suppress(functions.exceptions.ResourceNotFoundException):
            config = functions.get_function_event_invoke_config(
                FunctionName=self._function, Qualifier="$LATEST"
            )
            found = config.get("DestinationConfig", {}).get("OnFailure", {}).get("Destination")
        if found not in {self._stack.output(name) for name in QUEUES}:
            raise OperatorError(f"Failed invocations are not kept in a queue: {found}. {REVERT}")
        return f"kept in {found}"

    def _dead_letter_queue(self) -> str:
        events, failures = (self._attributes(name) for name in QUEUES)
        arn = self._stack.output("FailureQueueArn")
        if json.loads(events.get("RedrivePolicy", "{}")).get("deadLetterTargetArn") != arn:
            raise OperatorError(f"The event queue has another dead-letter queue, or none. {REVERT}")
        allowed = json.loads(failures.get("RedriveAllowPolicy", "{}"))
        sources = allowed.get("sourceQueueArns", [self._stack.output("EventQueueArn")])
        if (
            allowed.get("redrivePermission") == "denyAll"
            or self._stack.output("EventQueueArn") not in sources
        ):
            raise OperatorError(f"Its redrive allow policy refuses the event queue. {REVERT}")
        days = int(failures["MessageRetentionPeriod"]) / (24 * 60 * 60)
        if int(failures["MessageRetentionPeriod"]) < int(events["MessageRetentionPeriod"]):
            raise OperatorError(f"It keeps events for {days:g} days, the event queue for longer.")
        return f"takes what the event queue gives up, and keeps it for {days:g} days"

    def _queue_policies(self) -> str:
        """Check the queues to which S3 or EventBridge sends by itself."""
        doubts = list[str]()
        for sender in self._senders():
            asked = sender.service, "sqs:SendMessage", sender.source
            policy, arn = (
                self._attributes(sender.output).get("Policy", ""),
                self._stack.output(sender.output),
            )
            if not allows(policy, *asked):
                raise OperatorError(f"{sender.service} may not send to {arn}. {REVERT}")
            doubts += [f"{each} of {arn}" for each in denials(policy, *asked)]
        return _doubted(doubts) or "as needed"

    def _keys(self) -> str:
        """Check that the keys are enabled, and that who sends to what they encrypt may use them."""
        topic = self._stack.output("AlarmTopicArn")
        attributes = self._client("sns").get_topic_attributes(TopicArn=topic)["Attributes"]
        keys = {queue: self._attributes(queue).get("KmsMasterKeyId") for queue in QUEUES}
        keys["AlarmTopicArn"] = attributes.get("KmsMasterKeyId")
        keys["FunctionLogGroupName"] = self._stack.parameters.get("LogKmsKeyArn")
        doubts = [each for output, key in keys.items() if key for each in self._key(key, output)]
        return _doubted(doubts) or ", ".join(sorted({*filter(None, keys.values())})) or "AWS's own"

    def _key(self, key: str, output: str) -> Iterator[str]:
        """Check a key. Yield what its policy may deny. A log line that is lost is a metric lost."""
        kms = self._client("kms")
        described = kms.describe_key(KeyId=key)["KeyMetadata"]
        if described["KeyState"] != "Enabled":
            raise OperatorError(
                f"The key {key} is {described['KeyState']}: what is sent to"
                f" {self._stack.output(output)} is lost. Enable it."
            )
        policy = kms.get_key_policy(KeyId=described["KeyId"], PolicyName="default")["Policy"]
        senders = [*self._senders(), *self._alarm_senders(), self._log_sender()]
        for sender in (each for each in senders if each.output == output):
            for action in sender.on_key:
                asked = sender.service, action, sender.source
                if not allows(policy, *asked):
                    raise OperatorError(
                        f"The policy of {key} does not allow {action} to {sender.service}."
                        ' docs/DEPLOY.md has what it needs: "Keys of your own", and "Keys" for'
                        " alarms and logs."
                    )
                yield from (f"{each} of {key}" for each in denials(policy, *asked))

    def _alarms(self) -> str:
        alarms = self._stack.alarms()
        if not alarms:
            raise OperatorError(f"No alarm notifies the topic. {REVERT}")
        if silent := [alarm["AlarmName"] for alarm in alarms if not alarm["ActionsEnabled"]]:
            raise OperatorError(
                f"Switched off. Run aws cloudwatch enable-alarm-actions --alarm-names"
                f" {' '.join(silent)}"
            )
        if firing := in_alarm(alarms):
            return f"Warning: in alarm: {', '.join(firing)}"
        return f"{len(alarms)} notify the topic"

    def _subscriptions(self) -> str:
        topic = self._stack.output("AlarmTopicArn")
        pages = self._client("sns").get_paginator("list_subscriptions_by_topic")
        found = [each for page in pages.paginate(TopicArn=topic) for each in page["Subscriptions"]]
        confirmed = [each for each in found if each["SubscriptionArn"].startswith("arn:")]
        if not confirmed:
            raise OperatorError(
                "Nobody hears the alarms: "
                + (
                    "open the mail from AWS and confirm the subscription."
                    if found
                    else "set AlarmEmail and run make deploy, or run aws sns subscribe --protocol"
                    f" email --notification-endpoint ADDRESS --topic-arn {topic}"
                )
            )
        return f"{len(confirmed)} confirmed"

    def _service(self) -> tuple[str, str]:
        """Return who sends the bucket's events: a service, and its source's ARN."""
        if self._by_eventbridge:
            return "events.amazonaws.com", self._rule()["Arn"]
        partition = self._function.split(":")[1]
        return "s3.amazonaws.com", f"arn:{partition}:s3:::{self._bucket}"

    def _senders(self) -> Iterator[Sender]:
        if self._by_queue:
            yield Sender("EventQueueArn", *self._service())
        if self._by_eventbridge:
            yield Sender("FailureQueueArn", *self._service())

    def _alarm_senders(self) -> Iterator[Sender]:
        for alarm in self._stack.alarms()[:1]:
            yield Sender("AlarmTopicArn", "cloudwatch.amazonaws.com", alarm["AlarmArn"])

    def _log_sender(self) -> Sender:
        _, partition, _, region, account, *_ = self._function.split(":")
        group = self._stack.outputs.get("FunctionLogGroupName", "*")
        source = f"arn:{partition}:logs:{region}:{account}:log-group:{group}"
        return Sender("FunctionLogGroupName", f"logs.{region}.amazonaws.com", source, LOG)

    def _attributes(self, output: str) -> Mapping[str, str]:
        """Return the attributes of a queue. It is asked once."""
        if output not in self._queues:
            found = self._client("sqs").get_queue_attributes(
                QueueUrl=self._stack.queue_url(output), AttributeNames=["All"]
            )
            self._queues[output] = {str(n): value for n, value in found["Attributes"].items()}
        return self._queues[output]


def _doubted(statements: Collection[str]) -> str:
    """Return a warning of statements that deny, which the doctor does not judge; else nothing."""
    named = ", ".join(sorted(set(statements)))
    return f"Warning: not judged: these statements may deny it: {named}" if named else ""


def _filter(notification: Mapping[str, Any]) -> dict[str, str]:
    """Return the filter of keys of a notification: `prefix`, `suffix`."""
    rules = notification.get("Filter", {}).get("Key", {}).get("FilterRules", [])
    return {rule["Name"].lower(): rule["Value"] for rule in rules if rule["Value"]}


def _of(keys: Mapping[str, str]) -> str:
    described = " and ".join(f"the {name} {value}" for name, value in keys.items())
    return f" of keys with {described}" if keys else ""


def _pattern(rule: "DescribeRuleResponseTypeDef") -> Pattern:
    pattern: Pattern = json.loads(rule.get("EventPattern", "{}"))
    return pattern
