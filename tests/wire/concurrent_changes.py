"""What others do to the source and to the destination while a run is under way."""

from wire.harness import Harness


def source_becomes_small(harness: Harness) -> None:
    harness.put(b"three", colour="yellow")


def source_described(harness: Harness) -> None:
    harness.replace_metadata(colour="black")


def source_deleted(harness: Harness) -> None:
    harness.remove()


def destination_overwritten(harness: Harness) -> None:
    harness.overwrite_destination()


def destination_deleted(harness: Harness) -> None:
    harness.clouds.gcs.delete(harness.key)


def destination_described(harness: Harness) -> None:
    """Change the metageneration alone, if there is an object.

    The lock keeps the observer from looking between the change and its permission.
    """
    with harness.lock:
        reply = harness.clouds.gcs.patch(harness.key, {"metadata": {"mine": "now"}})
        if reply.status == 200:
            harness.allow(reply.json)


def staged_objects_deleted(harness: Harness) -> None:
    """Do what the bucket's lifecycle rule may do at any time."""
    harness.clear_staged()
