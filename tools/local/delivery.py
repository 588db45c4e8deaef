"""What AWS does between a bucket and a function: deliver events, try again, keep what failed."""

import json
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from tools.local.notifications import Json, as_s3_sends_it, is_of_moto_only, notification
from tools.local.runtime import FunctionError

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient

RETRY_DELAYS_S = (0.2, 0.4)
"""Before Lambda's two retries of an asynchronous invocation: there it is one minute and two."""

LONG_POLL_S = 10
"""A message ends the wait at once."""

SETTLE_S = 0.05
"""moto sends an event before it stores the object's metadata; S3 does not."""

EMPTY_CHECK_S = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class Delivery:
    """What became of one event: the function's results, or the error of the last attempt."""

    event: Json
    results: tuple[Json, ...]
    error: FunctionError | None
    attempts: int
    elapsed_s: float


class AsyncInvoker:
    """Lambda's asynchronous invocation: two retries, then the event goes to `failed`."""

    def __init__(
        self,
        invoke: Callable[[object], Any],
        *,
        on_delivery: Callable[[Delivery], None] = lambda _: None,
        retry_delays_s: Sequence[float] = RETRY_DELAYS_S,
    ) -> None:
        self.deliveries: list[Delivery] = []
        self.failed: list[Delivery] = []
        """What the template's failure queue would hold."""
        self._invoke = invoke
        self._on_delivery = on_delivery
        self._retry_delays_s = retry_delays_s

    def deliver(self, event: Json) -> Delivery:
        """Invoke the function until it succeeds or the retries are used up."""
        delivery = self._deliver(event)
        self.deliveries.append(delivery)
        if delivery.error:
            self.failed.append(delivery)
        self._on_delivery(delivery)
        return delivery

    def redrive(self) -> list[Delivery]:
        """Deliver again what failed."""
        failed, self.failed = self.failed, []
        return [self.deliver(delivery.event) for delivery in failed]

    def _deliver(self, event: Json) -> Delivery:
        started = time.perf_counter()
        results: tuple[Json, ...] = ()
        error: FunctionError | None = None
        attempts = 0
        for delay_s in (0.0, *self._retry_delays_s):
            time.sleep(delay_s)
            attempts += 1
            try:
                results, error = tuple(self._invoke(event)["results"]), None
                break
            except FunctionError as failure:
                error = failure
        return Delivery(
            event=event,
            results=results,
            error=error,
            attempts=attempts,
            elapsed_s=time.perf_counter() - started,
        )


class BucketEvents:
    """Carries a bucket's events from their queue to the function, one after the other."""

    def __init__(self, sqs: "SQSClient", queue_url: str, deliver: Callable[[Json], object]) -> None:
        self._sqs = sqs
        self._queue_url = queue_url
        self._deliver = deliver
        self._closing = threading.Event()
        self._problem: Exception | None = None
        self._thread = threading.Thread(target=self._run, name="bucket-events")
        self._thread.start()

    def settle(self, timeout_s: float) -> None:
        """Wait until every event so far was delivered. Raises TimeoutError, or what broke us."""
        give_up = time.monotonic() + timeout_s
        while self._waiting():
            if self._problem:
                raise self._problem
            if time.monotonic() > give_up:
                raise TimeoutError(f"Events still wait after {timeout_s:.0f} s.")
            time.sleep(EMPTY_CHECK_S)

    def close(self) -> None:
        """Stop after the event in hand. Raises what broke us, if something did."""
        self._closing.set()
        self._sqs.send_message(QueueUrl=self._queue_url, MessageBody="{}")  # ends the long poll
        self._thread.join()
        if self._problem:
            raise self._problem

    def _run(self) -> None:
        try:
            while not self._closing.is_set():
                self._carry_next()
        except Exception as error:  # noqa: BLE001 - handed to whoever settles or closes
            self._problem = error

    def _carry_next(self) -> None:
        received = self._sqs.receive_message(
            QueueUrl=self._queue_url, WaitTimeSeconds=LONG_POLL_S, VisibilityTimeout=3600
        )
        for message in received.get("Messages", []):
            records = json.loads(message["Body"]).get(
                "Records", []
            )  # a test event has none, nor does `close`
            for each in records:
                if not is_of_moto_only(each):
                    time.sleep(SETTLE_S)
                    self._deliver(notification(as_s3_sends_it(each)))
            self._sqs.delete_message(
                QueueUrl=self._queue_url, ReceiptHandle=message["ReceiptHandle"]
            )

    def _waiting(self) -> int:
        counts = self._sqs.get_queue_attributes(
            QueueUrl=self._queue_url,
            AttributeNames=["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"],
        )["Attributes"]
        return sum(int(count) for count in counts.values())
