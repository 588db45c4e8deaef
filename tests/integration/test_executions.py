"""The state machine and the event queue, over the network."""

import json
import time
import uuid
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

import boto3
import pytest
from canned import Response, serve_responses

from replicate.aws_clients import AwsClients
from replicate.entry import envelopes, execution_watch
from replicate.entry.invocation import Change, Delivery
from replicate.errors import OutOfTimeError, SettingsError, ThrottledError, UnavailableError
from replicate.protocol.deadline import Deadline
from replicate.protocol.evidence import REQUEST, user_deletion
from replicate.protocol.model import SourceRef
from replicate.protocol.ports import ExecutionState, Failed, Running, Succeeded
from replicate.retry import RetryPolicy
from replicate.stepfunctions import StateMachine

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient
    from types_boto3_stepfunctions import SFNClient

REF = SourceRef("bucket", 'a key/ü\u2028"')
CHANGE = Change(REF, since=datetime.now(UTC) - timedelta(days=2))
POLICY = RetryPolicy(attempts=3, first_delay_s=0.01)
ARN = "arn:aws:states:us-east-1:123456789012:stateMachine:stack-large-objects"

Make = Callable[..., StateMachine]

NOON = datetime(2026, 11, 26, 12, tzinfo=UTC)
STACK = json.dumps(
    {"errorMessage": "source_archived: frozen", "errorType": "E", "stackTrace": ["a line"]}
)


def failure(cause: str) -> str:
    """Return the cause that the machine states of a failed execution."""
    return json.dumps({"Error": "E", "Cause": cause})


@pytest.fixture(name="machine")
def make_machine(aws: str) -> Iterator[Make]:  # noqa: ARG001 - for its variables
    """Return a function that makes the adapter for the endpoint of the environment."""
    made: list[AwsClients] = []

    def make(
        arn: str = ARN,
        queue_url: str = "http://queue",
        seconds: float = 60,
        settle_s: int = 0,
    ) -> StateMachine:
        made.append(AwsClients("us-east-1", POLICY))
        return StateMachine(
            clients=made[-1],
            deadline=Deadline(seconds),
            policy=POLICY,
            arn=arn,
            queue_url=queue_url,
            watch_delay_s=0,
            settle_s=settle_s,
        )

    yield make
    for clients in made:
        clients.close()


@pytest.fixture
def states(aws: str) -> Iterator["SFNClient"]:  # noqa: ARG001 - for its variables
    client = boto3.client("stepfunctions")
    yield client
    client.close()


@pytest.fixture
def sqs(aws: str) -> Iterator["SQSClient"]:  # noqa: ARG001 - for its variables
    client = boto3.client("sqs")
    yield client
    client.close()


@pytest.fixture
def arn(states: "SFNClient") -> str:
    """Return a state machine. moto leaves its executions running until somebody stops them."""
    made = states.create_state_machine(
        name=uuid.uuid4().hex,
        definition='{"StartAt": "Wait", "States": {"Wait": {"Type": "Succeed"}}}',
        roleArn="arn:aws:iam::123456789012:role/role",
    )
    return made["stateMachineArn"]


def executions(states: "SFNClient", arn: str) -> list[tuple[str, dict[str, Any]]]:
    """Return names and inputs of all executions."""
    listed = states.list_executions(stateMachineArn=arn)["executions"]
    found = [states.describe_execution(executionArn=each["executionArn"]) for each in listed]
    return [(each["name"], json.loads(each["input"])) for each in found]


class TestStart:
    def test_starts_an_execution_with_the_state_that_the_first_step_reads(
        self, machine: Make, states: "SFNClient", arn: str
    ) -> None:
        machine(arn).of(CHANGE).start("one-1")

        event = {"occurred_at": None, "evidence": "hint"}
        state = {"bucket": REF.bucket, "key": REF.key, "version": None, "round": 0, "event": event}
        assert executions(states, arn) == [("one-1", state)]

    def test_tells_the_execution_of_its_event(
        self, machine: Make, states: "SFNClient", arn: str
    ) -> None:
        machine(arn).of(Change(REF, NOON, evidence=user_deletion(NOON))).start("one-1")

        ((_, state),) = executions(states, arn)
        event = Change(REF, NOON, evidence=user_deletion(NOON))
        assert execution_watch.change(REF, state["event"]) == event

    def test_does_nothing_when_the_execution_runs(
        self, machine: Make, states: "SFNClient", arn: str
    ) -> None:
        made = machine(arn).of(CHANGE)
        made.start("one-1")
        made.start("one-1")

        assert len(executions(states, arn)) == 1

    def test_does_nothing_when_the_execution_has_ended(
        self, machine: Make, states: "SFNClient", arn: str
    ) -> None:
        made = machine(arn).of(CHANGE)
        made.start("one-1")
        states.stop_execution(executionArn=made.machine.execution_arn("one-1"))
        made.start("one-1")

        assert len(executions(states, arn)) == 1

    def test_the_settings_are_wrong_when_there_is_no_such_machine(self, machine: Make) -> None:
        with pytest.raises(SettingsError, match=r"StartExecution .*StateMachineDoesNotExist"):
            machine().of(CHANGE).start("one-1")


class TestState:
    def test_is_none_when_there_is_no_such_execution(self, machine: Make, arn: str) -> None:
        assert machine(arn).of(CHANGE).state("one-1") is None

    def test_is_running_until_the_execution_ends(
        self, machine: Make, states: "SFNClient", arn: str
    ) -> None:
        made = machine(arn).of(CHANGE)
        made.start("one-1")
        assert made.state("one-1") == Running()

        states.stop_execution(executionArn=made.machine.execution_arn("one-1"))
        assert made.state("one-1") == Failed("ABORTED")

    @pytest.mark.parametrize(
        ("answer", "expected"),
        [
            (
                {"status": "SUCCEEDED"},
                Succeeded(),
            ),
            (
                {"status": "PENDING_REDRIVE"},
                Running(),
            ),
            ({"status": "TIMED_OUT"}, Failed("TIMED_OUT")),
            (
                {"status": "FAILED", "error": "PermanentError", "cause": "integrity: wrong"},
                Failed("PermanentError: integrity: wrong"),
            ),
            (
                {"status": "FAILED", "error": "States.Runtime"},
                Failed("States.Runtime"),
            ),
            (
                {"status": "FAILED", "error": "PermanentError", "cause": failure(STACK)},
                Failed("PermanentError: source_archived: frozen"),
            ),
            (
                {"status": "FAILED", "error": "PermanentError", "cause": STACK},
                Failed("PermanentError: source_archived: frozen"),
            ),
            (
                {"status": "FAILED", "error": "States.Timeout", "cause": failure("slow")},
                Failed("States.Timeout: slow"),
            ),
            (
                {"status": "FAILED", "error": "States.Timeout", "cause": "7"},
                Failed("States.Timeout: 7"),
            ),
        ],
    )
    def test_has_the_cause_of_a_failure(
        self,
        machine: Make,
        monkeypatch: pytest.MonkeyPatch,
        answer: dict[str, str],
        expected: ExecutionState,
    ) -> None:
        described = {"stopDate": time.time() - 60, **answer}
        with serve_responses((200, json.dumps(described).encode())) as service:
            monkeypatch.setenv("AWS_ENDPOINT_URL", service.url)
            assert machine().of(CHANGE).state("one-1") == expected

    @pytest.mark.parametrize(
        ("status", "ended_s", "expected"),
        [
            ("ABORTED", 870, Running()),
            ("ABORTED", 901, Failed("ABORTED")),
            ("FAILED", 870, Running()),
            ("SUCCEEDED", 1, Succeeded()),
        ],
    )
    def test_is_running_as_long_as_a_worker_may_outlive_the_execution(
        self,
        machine: Make,
        monkeypatch: pytest.MonkeyPatch,
        status: str,
        ended_s: int,
        expected: ExecutionState,
    ) -> None:
        described = {"status": status, "stopDate": time.time() - ended_s}
        with serve_responses((200, json.dumps(described).encode())) as service:
            monkeypatch.setenv("AWS_ENDPOINT_URL", service.url)
            assert machine(settle_s=900).of(CHANGE).state("one-1") == expected

    @pytest.mark.parametrize(
        ("waited", "fields", "is_old"),
        [
            (timedelta(hours=2), {}, False),
            (timedelta(minutes=10), {}, True),
            (None, {}, True),
            (None, {"evidence": REQUEST}, False),
        ],
        ids=["it waited for the execution", "redriven since", "new", "a request"],
    )
    def test_is_old_when_it_ended_before_the_event_began_to_wait(
        self,
        machine: Make,
        monkeypatch: pytest.MonkeyPatch,
        waited: timedelta | None,
        fields: dict[str, Any],
        *,
        is_old: bool,
    ) -> None:
        described = {"status": "FAILED", "stopDate": time.time() - 1800}
        with serve_responses((200, json.dumps(described).encode())) as service:
            monkeypatch.setenv("AWS_ENDPOINT_URL", service.url)
            since = datetime.now(UTC) - waited if waited else None
            state = machine().of(Change(REF, since=since, **fields)).state("one-1")
        assert isinstance(state, Failed)
        assert state.is_old is is_old
        assert state.ended_s == pytest.approx(1800, abs=60)


class TestWatch:
    def test_sends_a_message_that_the_function_reads_as_an_event(
        self, machine: Make, sqs: "SQSClient"
    ) -> None:
        url = sqs.create_queue(QueueName=uuid.uuid4().hex)["QueueUrl"]

        machine(queue_url=url).of(CHANGE).watch("one-1")

        (message,) = sqs.receive_message(QueueUrl=url)["Messages"]
        (change,) = execution_watch.read_message(
            json.loads(message["Body"]), Delivery(NOON)
        ).changes
        assert (change.ref, change.watched) == (REF, frozenset({"one-1"}))

    def test_message_describes_its_event(self, machine: Make, sqs: "SQSClient") -> None:
        url = sqs.create_queue(QueueName=uuid.uuid4().hex)["QueueUrl"]
        event = Change(REF, NOON, evidence=user_deletion(NOON))

        machine(queue_url=url).of(event).watch("one-1")

        (message,) = sqs.receive_message(QueueUrl=url)["Messages"]
        (change,) = execution_watch.read_message(
            json.loads(message["Body"]), Delivery(NOON)
        ).changes
        assert change.since
        assert abs(datetime.now(UTC) - change.since) < timedelta(minutes=1)
        assert change == replace(
            event, watched=frozenset({"one-1"}), since=change.since, first_since=change.since
        )

    def test_a_test_event_is_one_for_which_the_function_does_nothing(
        self, machine: Make, sqs: "SQSClient"
    ) -> None:
        url = sqs.create_queue(QueueName=uuid.uuid4().hex)["QueueUrl"]

        machine(queue_url=url).send_test_event()

        (message,) = sqs.receive_message(QueueUrl=url)["Messages"]
        assert envelopes.read_message(json.loads(message["Body"]), Delivery(NOON)).changes == ()

    def test_the_message_is_delayed(
        self, aws: str, monkeypatch: pytest.MonkeyPatch, sqs: "SQSClient"
    ) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", aws)
        url = sqs.create_queue(QueueName=uuid.uuid4().hex)["QueueUrl"]
        clients = AwsClients("us-east-1", POLICY)
        delayed = StateMachine(
            clients=clients,
            deadline=Deadline(60),
            policy=POLICY,
            arn=ARN,
            queue_url=url,
            watch_delay_s=300,
            settle_s=0,
        )

        delayed.of(CHANGE).watch("one-1")

        found = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["All"])["Attributes"]
        assert found["ApproximateNumberOfMessagesDelayed"] == "1"
        clients.close()

    def test_the_settings_are_wrong_when_there_is_no_such_queue(
        self, machine: Make, aws: str
    ) -> None:
        with pytest.raises(SettingsError, match=r"SendMessage was refused .*NonExistentQueue"):
            machine(queue_url=f"{aws}/123456789012/nothing").of(CHANGE).watch("one-1")


def refused(code: str, status: int = 400) -> Response:
    return status, json.dumps({"__type": code, "message": "no"}).encode()


CALLS: dict[str, Callable[[StateMachine], object]] = {
    "DescribeExecution": lambda machine: machine.of(CHANGE).state("one-1"),
    "StartExecution": lambda machine: machine.of(CHANGE).start("one-1"),
    "SendMessage": lambda machine: machine.of(CHANGE).watch("one-1"),
    "DescribeStateMachine": lambda machine: machine.check_machine(),
}
DONE = (
    200,
    b'{"status": "RUNNING", "executionArn": "arn", "startDate": 1, "MessageId": "id"}',
)


@pytest.fixture(params=CALLS)
def operation(request: pytest.FixtureRequest) -> str:
    return str(request.param)


class TestErrors:
    @pytest.mark.parametrize(
        "answer",
        [
            refused("ThrottlingException"),
            refused("com.amazon#ThrottlingException"),
            refused("RequestThrottled", 403),
            refused("ExecutionLimitExceeded"),
            refused("TooManyRequestsException"),
            refused("InternalFailure", 500),
            (503, b""),
        ],
    )
    def test_a_request_is_repeated_after_a_transient_failure(
        self, machine: Make, monkeypatch: pytest.MonkeyPatch, answer: Response
    ) -> None:
        with serve_responses(answer, answer, DONE) as service:
            monkeypatch.setenv("AWS_ENDPOINT_URL", service.url)
            machine().of(CHANGE).start("one-1")
            assert service.request_count == 3

    def test_a_service_that_throttles_for_long_is_named(
        self, machine: Make, monkeypatch: pytest.MonkeyPatch, operation: str
    ) -> None:
        with serve_responses(refused("ThrottlingException")) as service:
            monkeypatch.setenv("AWS_ENDPOINT_URL", service.url)
            with pytest.raises(ThrottledError, match=f"{operation} was throttled"):
                CALLS[operation](machine(queue_url=f"{service.url}/1/queue"))
            assert service.request_count == POLICY.attempts

    @pytest.mark.parametrize("code", ["AccessDeniedException", "InvalidArn"])
    def test_a_refusal_is_final_and_names_the_rights(
        self, machine: Make, monkeypatch: pytest.MonkeyPatch, operation: str, code: str
    ) -> None:
        """Also of a name that somebody has made up, and that Step Functions does not accept."""
        with serve_responses(refused(code)) as service:
            monkeypatch.setenv("AWS_ENDPOINT_URL", service.url)
            with pytest.raises(SettingsError, match=rf"{operation} .*{code}.*role"):
                CALLS[operation](machine(queue_url=f"{service.url}/1/queue"))
            assert service.request_count == 1

    def test_a_malformed_response_is_an_outage(
        self, machine: Make, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with serve_responses((200, b"{}"), (200, b"no JSON"), DONE) as service:
            monkeypatch.setenv("AWS_ENDPOINT_URL", service.url)
            found = machine().of(CHANGE).state("one-1")
        assert found == Running()

    def test_a_service_that_cannot_be_reached_is_unavailable(
        self, machine: Make, monkeypatch: pytest.MonkeyPatch, operation: str
    ) -> None:
        monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
        with pytest.raises(UnavailableError, match=f"{operation} failed"):
            CALLS[operation](machine(queue_url="http://127.0.0.1:9/1/queue"))

    def test_no_request_is_sent_after_the_deadline(self, machine: Make, operation: str) -> None:
        with pytest.raises(OutOfTimeError):
            CALLS[operation](machine(seconds=0))

    def test_a_function_without_a_role_is_told_so(
        self, machine: Make, monkeypatch: pytest.MonkeyPatch, operation: str
    ) -> None:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.delenv(name)
        for name in ("AWS_CONFIG_FILE", "AWS_SHARED_CREDENTIALS_FILE"):
            monkeypatch.setenv(name, "/nowhere")
        monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
        with pytest.raises(SettingsError, match="Give it an execution role"):
            CALLS[operation](machine(queue_url="http://127.0.0.1:9/1/queue"))
