"""One run from beginning to end."""

import time
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from rich.console import Console

from tools.local.notifications import Json
from tools.soak.carrier import Carrier
from tools.soak.changes import Plan
from tools.soak.cloud import SoakCloud, soak_cloud
from tools.soak.killer import Killer
from tools.soak.ledger import Ledger
from tools.soak.options import Options
from tools.soak.source import Writer
from tools.soak.threads import Threads
from tools.soak.timetable import Timetable
from tools.soak.verdict import Verdict, judge
from tools.soak.watch import Watch
from tools.soak.workers import FailureList, Worker

LANES = 2
REDRIVES = 3
POLL_S = 0.1
SAY_EVERY_S = 10.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Result:
    """Everything there is to report."""

    options: Options
    when: datetime
    ledger: Ledger
    verdict: Verdict
    faults: list[Json]
    requests: dict[str, int]
    distinct_keys: int


def soak(options: Options, console: Console) -> Result:
    """Carry the plan out, let everything settle in calm weather, and compare both sides."""
    when = datetime.now(UTC)
    plan = Plan(
        objects=options.objects,
        changes=options.changes,
        largest_mib=options.largest_mib,
        seed=options.seed,
        lanes=LANES,
    )
    with soak_cloud(options) as cloud:
        ledger = Ledger()
        run = _Run(cloud, plan, ledger, options, console)
        run.play()
        faults, requests = cloud.google.faults(), cloud.google.requests()
        console.print("Comparing both sides, byte by byte")
        verdict = judge(cloud, ledger, plan.remaining(), faults)
        verdict.problems += run.still_failing
    ledger.mark("end")
    return Result(
        options=options,
        when=when,
        ledger=ledger,
        verdict=verdict,
        faults=faults,
        requests=dict(requests),
        distinct_keys=options.objects,
    )


class _Run:
    def __init__(
        self, cloud: SoakCloud, plan: Plan, ledger: Ledger, options: Options, console: Console
    ) -> None:
        self._cloud = cloud
        self._plan = plan
        self._ledger = ledger
        self._options = options
        self._console = console
        self._timetable = Timetable()
        self._failures = FailureList()
        self._threads = Threads()
        self._said = 0.0
        self.still_failing: list[str] = []

    def play(self) -> None:
        stopping = self._threads.stopping
        carrier = Carrier(
            self._cloud.aws.sqs,
            self._cloud.queue_url,
            self._timetable,
            self._ledger,
            self._options,
            stopping,
        )
        killer = Killer(
            self._ledger,
            mean_s=self._options.kill_every_s,
            seed=self._options.seed,
            stopping=stopping,
        )
        watch = Watch(self._cloud.google.bucket, self._ledger, stopping)
        for number, runtime in enumerate(self._cloud.runtimes):
            worker = Worker(runtime, self._timetable, self._failures, self._ledger)
            self._threads.start(worker.run, f"worker-{number}")
        for name, run in (("carrier", carrier.run), ("killer", killer.run), ("watch", watch.run)):
            self._threads.start(run, name)
        try:
            self._write()
            self._settle(carrier)
            self._cloud.google.calm()
            killer.spare()
            self._ledger.mark("calm")
            self._redrive(carrier)
            watch.look()
        finally:
            self._timetable.close()
            self._threads.join()
        self._ledger.mark("settled")

    def _write(self) -> None:
        writers = [
            self._threads.start(
                Writer(
                    self._cloud.aws.s3,
                    [change for change in self._plan.changes if change.lane == lane],
                    self._ledger,
                    crowded=self._crowded,
                    stopping=self._threads.stopping,
                ).run,
                f"writer-{lane}",
            )
            for lane in range(LANES)
        ]
        while any(writer.is_alive() for writer in writers):
            self._wait("changing and delivering")
        self._ledger.mark("written")

    def _crowded(self) -> bool:
        """Whether events wait for a runtime, or are still on their way to the timetable."""
        under_way = self._ledger.changes.total() - self._ledger.counts["events"]
        return under_way + self._timetable.due() >= self._options.window

    def _settle(self, carrier: Carrier) -> None:
        """Wait until every event has been delivered, or was kept as failed."""
        while carrier.waiting() or not self._timetable.idle():
            self._wait("delivering what is left")

    def _redrive(self, carrier: Carrier) -> None:
        """As a person does it: deliver again what was kept, until nothing is."""
        for _ in range(REDRIVES):
            for job in self._failures.empty():
                self._ledger.count("redriven")
                self._timetable.put(replace(job, attempt=1), 0.0)
            self._settle(carrier)
        self.still_failing = [
            f"still failing: {told.key}" for job in self._failures.empty() for told in job.records
        ]

    def _wait(self, doing: str) -> None:
        self._threads.check()
        time.sleep(POLL_S)
        if time.monotonic() - self._said > SAY_EVERY_S:
            self._said = time.monotonic()
            counts, ledger = self._ledger.counts, self._ledger
            self._console.print(
                f"[dim]{ledger.now():5.0f} s[/]  {doing}: {ledger.changes.total()} of"
                f" {len(self._plan.changes)} changes, {counts['invocations']} invocations,"
                f" {counts['retries']} retries, {len(ledger.kills)} kills"
            )
