"""Replicate the changes of an event, several at the same time."""

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass

from replicate.entry.invocation import Change
from replicate.errors import InternalError, ReplicationError
from replicate.protocol import Replicator
from replicate.protocol.model import Result
from replicate.protocol.parts import Sizes
from replicate.protocol.scope import Scope

CONCURRENCY = 10
"""Changes of one event that are replicated at the same time.

Each needs up to 11 MiB of memory, in four parts. Of compressed chunks the process holds a limited
number (gcs/compressed_upload.py).
"""


@dataclass(frozen=True, slots=True)
class ReplicateAll:
    """Replicates the changes of one invocation."""

    scope: Scope
    sizes: Sizes
    replicator: Callable[[Change], Replicator]
    """Returns the protocol over both stores, for one change."""

    def __call__(
        self, changes: Sequence[Change]
    ) -> Iterator[tuple[Change, Result | ReplicationError]]:
        """Replicate several changes at the same time. Yield each one when it has ended."""
        if len(changes) == 1:
            yield changes[0], self._replicate_or_error(changes[0])
        elif changes:
            with ThreadPoolExecutor(min(CONCURRENCY, len(changes))) as pool:
                running = {
                    pool.submit(self._replicate_or_error, change): change for change in changes
                }
                for ended in as_completed(running):
                    yield running[ended], ended.result()

    def _replicate_or_error(self, change: Change) -> Result | ReplicationError:
        """Replicate a change, if it is in the scope. Errors are returned, also those of defects."""
        try:
            self.scope.require(change.ref)
            return self.replicator(change).replicate(
                change.ref,
                change.expect(self.sizes.parallel_from),
                watched=change.watched,
                evidence=change.evidence,
                is_request=change.is_request,
            )
        except ReplicationError as error:
            return error
        except Exception as defect:  # noqa: BLE001 - the log has it, with its stack
            failure = InternalError(
                f"A defect of the function stopped {change.ref.uri}: see its log."
            )
            failure.__cause__ = defect
            return failure
