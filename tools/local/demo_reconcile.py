"""The steps of `make demo` in which the replica is damaged, compared and repaired."""

from tools.common.reconciling import Report
from tools.local.demo_context import DemoContext, expect

BELOW = "reconcile/"
KEPT = [f"{BELOW}kept-{number}.txt" for number in range(1, 4)]
DELETED, DAMAGED, LOST = f"{BELOW}deleted.txt", f"{BELOW}damaged.txt", f"{BELOW}event-lost.txt"
FOUND = {DAMAGED: "different", DELETED: "missing", LOST: "missing"}


def damages(demo: DemoContext) -> str:
    """A replica deleted, one damaged, an event lost."""
    for key in (*KEPT, DELETED, DAMAGED):
        demo.put_queued(key, b"Some bytes of " + key.encode())
    demo.queued.mapping.drain()
    demo.expect_equal(BELOW, len(KEPT) + 2)
    demo.cloud.google.bucket.blob(DELETED).delete()
    demo.truncate_replica(DAMAGED)
    demo.put_queued(LOST, b"Nobody told the function.\n")
    demo.lose_events()
    demo.expect_different(BELOW, *FOUND)
    return "done by hand; every queue is empty, and nothing tells the function"


def report(demo: DemoContext) -> str:
    """A reconcile compares both sides."""
    found = _run(demo)
    expect(found.differences, FOUND, "differences")
    expect(found.ended, "differences", "how the run ended")
    counts = found.counts
    return (
        f"of {counts['compared']}, {counts['missing']} missing and {counts['different']} different:"
        " exactly these"
    )


def repair(demo: DemoContext) -> str:
    """A repair, and a second reconcile."""
    stopped = _run(demo, mode="repair")
    expect(stopped.ended, "too_many_differences", "how an unconfirmed repair ended")
    nominated = _run(demo, mode="repair", confirmed=True).counts["nominated"]
    expect(nominated, len(FOUND), "nominated keys")
    demo.queued.mapping.drain()
    demo.expect_queues(waiting=0, failed=0)
    demo.expect_equal(BELOW, len(KEPT) + len(FOUND))
    again = _run(demo)
    expect((again.ended, again.differences), ("equal", {}), "the second reconcile")
    return f"{nominated} keys nominated and healed; the second report finds none"


def _run(demo: DemoContext, **request: object) -> Report:
    """Run the state machine over the objects of these steps. Nothing is young."""
    output = demo.queued.reconcile(prefix=BELOW, grace_minutes=0, **request)
    return Report.read(demo.cloud.aws.s3, output)


STEPS = (damages, report, repair)
