"""Takes S3's events from their queue and puts them into the timetable: late, twice, in company."""

import json
import threading
from datetime import datetime
from random import Random
from typing import TYPE_CHECKING
from urllib.parse import unquote_plus

from tools.local.bucket_notifications import METADATA_DELAY_S
from tools.local.notifications import from_moto, is_moto_duplicate
from tools.soak.ledger import Ledger
from tools.soak.options import Options
from tools.soak.timetable import Job, Timetable, Told

if TYPE_CHECKING:
    from types_boto3_sqs import SQSClient

BATCH = 10
POLL_S = 1
MEAN_DELAY_S = 2.0
LONGEST_DELAY_S = 10.0


class Carrier:
    """The way from the bucket to Lambda's own queue, with all that may happen on it."""

    def __init__(
        self,
        sqs: "SQSClient",
        queue_url: str,
        timetable: Timetable,
        ledger: Ledger,
        options: Options,
        stopping: threading.Event,
    ) -> None:
        self._sqs = sqs
        self._queue_url = queue_url
        self._timetable = timetable
        self._ledger = ledger
        self._options = options
        self._stopping = stopping
        self._rng = Random(options.seed)  # noqa: S311 - to be repeatable
        self._number = 0

    def run(self) -> None:
        while not self._stopping.is_set():
            received = self._sqs.receive_message(
                QueueUrl=self._queue_url,
                WaitTimeSeconds=POLL_S,
                MaxNumberOfMessages=BATCH,
                VisibilityTimeout=3600,
            )
            messages = received.get("Messages", [])
            self._pass_on([told for each in messages for told in self._read(each["Body"])])
            if messages:  # only now: who waits for an empty queue must not find us in between
                self._sqs.delete_message_batch(
                    QueueUrl=self._queue_url,
                    Entries=[
                        {"Id": str(n), "ReceiptHandle": each["ReceiptHandle"]}
                        for n, each in enumerate(messages)
                    ],
                )

    def waiting(self) -> int:
        """How many messages have not been passed on."""
        counts = self._sqs.get_queue_attributes(
            QueueUrl=self._queue_url,
            AttributeNames=["ApproximateNumberOfMessages", "ApproximateNumberOfMessagesNotVisible"],
        )["Attributes"]
        return sum(int(count) for count in counts.values())

    def _read(self, body: str) -> list[Told]:
        found = []
        for each in json.loads(body).get("Records", []):
            if is_moto_duplicate(each):
                continue
            record = from_moto(each)
            record["eventTime"] = each["eventTime"]
            happened = datetime.fromisoformat(each["eventTime"]).timestamp()
            key = unquote_plus(each["s3"]["object"]["key"])
            found.append(Told(self._number, key, happened, record))
            self._number += 1
        self._ledger.count("events", len(found))
        return found

    def _pass_on(self, records: list[Told]) -> None:
        if len(records) > 1 and self._rng.random() < self._options.batched:
            self._ledger.count("deliveries of several records")
            self._schedule(tuple(records))
            return
        for told in records:
            self._schedule((told,))

    def _schedule(self, records: tuple[Told, ...]) -> None:
        copies = 1
        if self._rng.random() < self._options.duplicates:
            copies = 2
            self._ledger.count("duplicates")
        for _ in range(copies):
            held_back_s = 0.0
            if self._rng.random() < self._options.delayed:
                held_back_s = min(LONGEST_DELAY_S, self._rng.expovariate(1 / MEAN_DELAY_S))
                self._ledger.count("held back")
            self._timetable.put(
                Job(records=records, held_back_s=held_back_s), METADATA_DELAY_S + held_back_s
            )
