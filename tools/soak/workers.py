"""One Lambda runtime each: invokes it as Lambda does, with two retries and a failure list."""

import http.client
import threading
from dataclasses import replace

from tools.local.notifications import notification
from tools.local.runtime import FunctionError, LambdaRuntime
from tools.soak.ledger import Ledger
from tools.soak.timetable import Job, Timetable

RETRY_DELAYS_S = (1.0, 2.0)
"""Before Lambda's two retries: there it is one minute and two."""

KILLED = "Runtime.ExitError"


class FailureList:
    """What the template's failure queue would hold. Safe across threads."""

    def __init__(self) -> None:
        self._jobs: list[Job] = []
        self._lock = threading.Lock()

    def add(self, job: Job) -> None:
        with self._lock:
            self._jobs.append(job)

    def empty(self) -> list[Job]:
        with self._lock:
            found, self._jobs = self._jobs, []
            return found


class Worker:
    """Takes what is due and invokes its runtime with it, until the timetable is closed."""

    def __init__(
        self, runtime: LambdaRuntime, timetable: Timetable, failures: FailureList, ledger: Ledger
    ) -> None:
        self._runtime = runtime
        self._timetable = timetable
        self._failures = failures
        self._ledger = ledger

    def run(self) -> None:
        while job := self._timetable.take():
            try:
                self._carry_out(job)
            finally:
                self._timetable.done()

    def _carry_out(self, job: Job) -> None:
        self._ledger.count("invocations")
        event = notification(*(told.record for told in job.records))
        try:
            answer = self._runtime.invoke(event)
        except FunctionError as error:
            self._failed(job, error)
            return
        except (OSError, http.client.HTTPException) as error:
            self._runtime.restart()
            self._failed(job, FunctionError(f"emulator: {type(error).__name__}", ""))
            return
        if answer is None:  # killed while it started: the emulator has nothing to say then
            self._failed(job, FunctionError(KILLED, ""))
            return
        for result in answer["results"]:
            self._ledger.succeeded(result["reason"], result["bytes_copied"])
        for told in job.records:
            self._ledger.arrived(told.number, told.happened, job.held_back_s)

    def _failed(self, job: Job, error: FunctionError) -> None:
        self._ledger.failed(error.error_type, error.message)
        if error.error_type == KILLED:
            for told in job.records:
                self._ledger.killed_while_at(told.key)
        self._again(job)

    def _again(self, job: Job) -> None:
        """Retry later, or keep the event when it was tried often enough."""
        if job.attempt <= len(RETRY_DELAYS_S):
            self._ledger.count("retries")
            delay_s = RETRY_DELAYS_S[job.attempt - 1]
            self._timetable.put(replace(job, attempt=job.attempt + 1), delay_s)
        else:
            self._ledger.count("kept as failed")
            self._failures.add(job)
