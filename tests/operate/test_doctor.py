"""The doctor finds what only somebody outside can see, and says what to do."""

import json
from typing import Any

import pytest
from botocore.exceptions import ClientError
from moto.core.models import DEFAULT_ACCOUNT_ID as ACCOUNT
from operate.conftest import (
    BUCKET,
    HEALTHY,
    LOG_GROUP,
    Deploy,
    Deployed,
    Run,
    client,
    document,
    find_stack,
    notify,
    put_rule,
)

from tools.operate.doctor import examine
from tools.operate.expected import wanted_pattern

EXISTING = {"SourceBucketKind": "existing"}
ARN = f"arn:aws:s3:::{BUCKET}"
QUEUE = {"Delivery": "queue"}


def failed(stack: Deployed) -> dict[str, str]:
    """Run the doctor, and return what the failed hops found."""
    stack.doctor_responds(HEALTHY)
    return {hop["hop"]: hop["found"] for hop in examine(find_stack()) if not hop["ok"]}


@pytest.mark.parametrize("parameters", [{}, QUEUE, EXISTING, {**QUEUE, **EXISTING}])
def test_a_correct_stack_is_healthy(deploy: Deploy, parameters: dict[str, str]) -> None:
    deploy(**parameters).doctor_responds(HEALTHY)
    hops = examine(find_stack())
    assert hops[0] == {"hop": "canary", "ok": True, "found": "written"}
    assert [hop for hop in hops if not hop["ok"] or "Warning" in hop["found"]] == []


def test_json_has_the_words_of_the_functions_doctor(deploy: Deploy, run: Run) -> None:
    deploy().doctor_responds(HEALTHY)
    done = run("doctor", "my-stack", "--json")
    assert (done.exit_code, done.stderr) == (0, "")
    report = json.loads(done.stdout)
    assert report["healthy"] is True
    assert {"hop": "stack", "ok": True, "found": "CREATE_COMPLETE"} in report["hops"]


def test_the_table_shows_every_hop_and_the_exit_status_fails(deploy: Deploy, run: Run) -> None:
    token = {"hop": "token", "ok": False, "code": "credentials_invalid", "found": "[Bad] key"}
    deploy().doctor_responds({"healthy": False, "hops": [token]})
    done = run("doctor", "my-stack")
    assert done.exit_code == 1
    assert "✗  token" in done.stdout
    assert "[Bad] key" in done.stdout
    assert "✓  dead-letter queue" in done.stdout
    assert done.stderr == "Not healthy: what failed says what to do.\n"


def set_queue(url: str, **attributes: str) -> None:
    client("sqs").set_queue_attributes(QueueUrl=url, Attributes=attributes)


def assert_found(stack: Deployed, expected: dict[str, str]) -> None:
    """Check that exactly these hops fail, and that what they found has these texts."""
    found = failed(stack)
    assert found.keys() == expected.keys()
    for hop, text in expected.items():
        assert text in found[hop]


def test_damage_between_the_bucket_and_the_function_is_found(deploy: Deploy) -> None:
    stack = deploy(ReplicateDeletes="with-lifecycle", ReplicateTags="contexts")
    notify(document(stack.function))
    functions = client("lambda")
    functions.remove_permission(FunctionName=stack.function, StatementId="it")
    functions.delete_function_event_invoke_config(FunctionName=stack.function)
    (mapping,) = functions.list_event_source_mappings()["EventSourceMappings"]
    functions.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
    set_queue(stack.failure_queue, MessageRetentionPeriod="86400")
    assert_found(
        stack,
        {
            f"events of s3://{BUCKET}": "not send s3:LifecycleExpiration:*, s3:ObjectTagging:* to",
            "permission to invoke the function": f"may not invoke the function for {ARN}",
            "polling of the event queue": f"--enabled --uuid {mapping['UUID']}",
            "failed invocations": "not kept in a queue",
            "dead-letter queue": "keeps events for 1 days, the event queue for longer",
        },
    )


def test_damage_between_the_bucket_and_the_queue_is_found(deploy: Deploy) -> None:
    stack = deploy(Delivery="queue")
    notify({})
    set_queue(stack.event_queue, Policy="{}", RedrivePolicy="{}")
    assert_found(
        stack,
        {
            f"events of s3://{BUCKET}": "its notifications were replaced",
            "queue policies": "s3.amazonaws.com may not send to arn:aws:sqs:",
            "dead-letter queue": "has another dead-letter queue, or none",
        },
    )


def test_damage_between_eventbridge_and_the_function_is_found(deploy: Deploy) -> None:
    stack, events = deploy(SourceBucketKind="existing"), client("events")
    notify({})
    events.disable_rule(Name="to-replicator")
    set_queue(stack.failure_queue, Policy="{}")
    expected = {
        f"events of s3://{BUCKET}": "does not send its events to EventBridge",
        "EventBridge rule": "aws events enable-rule --name to-replicator",
        "queue policies": "events.amazonaws.com may not send to arn:aws:sqs:",
    }
    assert_found(stack, expected)

    events.enable_rule(Name="to-replicator")
    events.put_targets(Rule="to-replicator", Targets=[{"Id": "it", "Arn": stack.function}])
    assert_found(stack, {**expected, "EventBridge rule": "loses what it cannot deliver"})


def test_notifications_of_other_keys_are_found(deploy: Deploy) -> None:
    keys = {"SourcePrefix": "logs%2F", "SourceSuffix": ".json"}
    stack = deploy(**keys)
    for other in ({}, {**keys, "SourcePrefix": "log"}, {"SourcePrefix": "logs%2F"}):
        notify(document(stack.function, **other))
        missing = "s3:ObjectRestore:Completed of keys with the prefix logs%2F and the suffix .json"
        assert_found(stack, {f"events of s3://{BUCKET}": missing})
    notify(document(stack.function, **keys))
    assert failed(stack) == {}


KEYS = {"SourcePrefix": "a/", "SourceSuffix": ".json"}
ALL_EVENTS = {**EXISTING, "ReplicateDeletes": "with-lifecycle", "ReplicateTags": "contexts"}


@pytest.mark.parametrize(
    ("parameters", "others", "found"),
    [
        (ALL_EVENTS, EXISTING, 'detail-type is "Object Created", "Object Deleted", "Object Rest'),
        (ALL_EVENTS, EXISTING, "reason is"),
        ({**EXISTING, **KEYS}, EXISTING, 'key is anything instead of {"wildcard": "a/*.json"}'),
        (
            {**EXISTING, **KEYS},
            {**EXISTING, **KEYS, "SourcePrefix": "b/"},
            'key is {"wildcard": "b/*.json"} instead of {"wildcard": "a/*.json"}',
        ),
        (EXISTING, ALL_EVENTS, "reason is anything instead of"),
    ],
)
def test_a_rule_for_other_events_is_found(
    deploy: Deploy, parameters: dict[str, str], others: dict[str, str], found: str
) -> None:
    stack = deploy(**parameters)
    put_rule(wanted_pattern(BUCKET, others))
    assert_found(stack, {"EventBridge rule": found})


def test_a_rule_for_a_bucket_with_a_longer_name_is_not_taken_for_ours(deploy: Deploy) -> None:
    stack = deploy(**EXISTING)
    put_rule(wanted_pattern(f"{BUCKET}-2", EXISTING))
    nothing = "No rule sends events of the bucket"
    hops = ("EventBridge rule", "permission to invoke the function", "queue policies")
    found = failed(stack)
    assert {hop: found[hop][: len(nothing)] for hop in hops} == dict.fromkeys(hops, nothing)


def test_alarms_that_nobody_hears_are_found(deploy: Deploy) -> None:
    stack = deploy()
    client("cloudwatch").disable_alarm_actions(AlarmNames=["lag"])
    (subscription,) = client("sns").list_subscriptions()["Subscriptions"]
    client("sns").unsubscribe(SubscriptionArn=subscription["SubscriptionArn"])
    assert_found(
        stack,
        {
            "alarms": "enable-alarm-actions --alarm-names lag",
            "alarm subscriptions": f"--notification-endpoint ADDRESS --topic-arn {stack.topic}",
        },
    )


def test_a_redrive_allow_policy_that_refuses_the_event_queue_is_found(deploy: Deploy) -> None:
    def refuse(parsed: dict[str, dict[str, str]], **_: object) -> None:
        parsed["Attributes"]["RedriveAllowPolicy"] = '{"redrivePermission": "denyAll"}'

    deploy().doctor_responds(HEALTHY)
    stack = find_stack()
    stack.session.events.register("after-call.sqs.GetQueueAttributes", refuse)  # not in moto
    (found,) = [hop["found"] for hop in examine(stack) if not hop["ok"]]
    assert "refuses the event queue" in found


def test_a_missing_permission_is_named_and_is_no_failure(deploy: Deploy) -> None:
    def deny(**_: object) -> None:
        error = {"Error": {"Code": "AccessDenied", "Message": "Access Denied"}}
        raise ClientError(error, "GetBucketNotificationConfiguration")  # type: ignore[arg-type]

    deploy().doctor_responds(HEALTHY)
    stack = find_stack()
    stack.session.events.register("before-call.s3.GetBucketNotificationConfiguration", deny)
    hops = examine(stack)
    assert all(hop["ok"] for hop in hops)
    (found,) = [hop["found"] for hop in hops if "Warning" in hop["found"]]
    assert found.startswith(
        "Warning: not checked. You lack the permission s3:GetBucketNotification."
    )


class TestKeys:
    HOP = "keys of queues, alarms and logs"

    @pytest.fixture
    def key(self) -> str:
        return str(client("kms").create_key()["KeyMetadata"]["KeyId"])

    def test_a_policy_without_a_sender_is_found(self, deploy: Deploy, key: str) -> None:
        hop = self.HOP
        self.let(key, "s3", "kms:Decrypt")
        stack = deploy(Delivery="queue", KmsKeyArn=key)
        assert "does not allow kms:GenerateDataKey to s3.amazonaws.com" in failed(stack)[hop]

        self.let(key, "s3", "kms:GenerateDataKey", "kms:Decrypt")
        assert failed(stack) == {}
        client("sns").set_topic_attributes(
            TopicArn=stack.topic, AttributeName="KmsMasterKeyId", AttributeValue=key
        )
        assert "does not allow kms:GenerateDataKey to cloudwatch.amazonaws" in failed(stack)[hop]

    @pytest.mark.parametrize("parameter", ["KmsKeyArn", "LogKmsKeyArn"])
    def test_a_disabled_key_is_found(self, deploy: Deploy, key: str, parameter: str) -> None:
        client("kms").disable_key(KeyId=key)
        assert "is Disabled" in failed(deploy(**{parameter: key}))[self.HOP]

    def test_a_log_key_that_the_logs_may_not_use_is_found(self, deploy: Deploy, key: str) -> None:
        """Lines that are not written have no metrics, and no alarm fires."""
        stack, actions = deploy(LogKmsKeyArn=key), ["kms:Decrypt", "kms:GenerateDataKey"]
        missing = "does not allow kms:Encrypt to logs.us-east-1.amazonaws.com"

        def found(group: str, *actions: str) -> dict[str, str]:
            arn = f"arn:aws:logs:us-east-1:{ACCOUNT}:log-group:{group}"
            condition = {"ArnLike": {"kms:EncryptionContext:aws:logs:arn": arn}}
            self.let(key, "logs.us-east-1", *actions, condition=condition)
            return failed(stack)

        assert missing in found(LOG_GROUP, *actions)[self.HOP]
        assert missing in found("another", *actions, "kms:Encrypt")[self.HOP]
        assert found(LOG_GROUP, *actions, "kms:Encrypt") == {}

    def test_a_statement_that_denies_is_named_and_not_judged(
        self, deploy: Deploy, key: str
    ) -> None:
        denied = {"Sid": "Outside", "Effect": "Deny", "Principal": "*", "NotAction": "kms:List*"}
        self.let(key, "s3", "kms:*", more={**denied, "Condition": {"Null": {"aws:x": "true"}}})
        stack = deploy(Delivery="queue", KmsKeyArn=key)
        assert failed(stack) == {}
        hops = {hop["hop"]: hop["found"] for hop in examine(find_stack())}
        says = "Warning: not judged: these statements may deny it: Outside of"
        assert hops[self.HOP] == f"{says} {key}"

        policy = json.loads(
            client("sqs").get_queue_attributes(
                QueueUrl=stack.event_queue, AttributeNames=["Policy"]
            )["Attributes"]["Policy"]
        )
        policy["Statement"].append({**denied, "NotAction": "sqs:DeleteMessage"})
        set_queue(stack.event_queue, Policy=json.dumps(policy))
        hops = {hop["hop"]: hop["found"] for hop in examine(find_stack())}
        assert hops["queue policies"].startswith(says)

    def let(
        self,
        key: str,
        service: str,
        *actions: str,
        condition: dict[str, Any] | None = None,
        more: dict[str, Any] | None = None,
    ) -> None:
        statement = {
            "Effect": "Allow",
            "Principal": {"Service": f"{service}.amazonaws.com"},
            "Action": actions,
            "Resource": "*",
            **({"Condition": condition} if condition else {}),
        }
        policy = json.dumps({"Statement": [statement, *([more] if more else [])]})
        client("kms").put_key_policy(KeyId=key, PolicyName="default", Policy=policy)


def test_a_stopped_function_is_not_invoked(deploy: Deploy) -> None:
    stack = deploy(ReservedConcurrency="0")
    assert "The function is stopped" in failed(stack)["function"]


def test_a_failed_alarm_is_a_warning(deploy: Deploy) -> None:
    stack = deploy()
    client("cloudwatch").set_alarm_state(AlarmName="lag", StateValue="ALARM", StateReason="late")
    stack.doctor_responds(HEALTHY)
    hops = {hop["hop"]: hop for hop in examine(find_stack())}
    assert hops["alarms"] == {"hop": "alarms", "ok": True, "found": "Warning: in alarm: lag"}


def test_a_function_that_fails_is_a_failed_hop(deploy: Deploy) -> None:
    deploy().doctor_responds({"errorMessage": "No module.", "errorType": "ImportError"})
    (function, *_) = examine(find_stack())
    assert function["ok"] is False
    assert function["found"] == "It did not respond: No module. Look into its log."
