"""A local Google Cloud Storage server: the JSON API our function and its tests rely on.

Run it with `python -m local.gcs`, or inside a test with `with GcsServer(buckets=["b"]) as server`.
What it promises is written down, and checked against any other server too, in tests/contract.

How a request travels:

    wire       one HTTP connection: the body as it arrives, the answer in one piece, the faults
    api        the route table: path -> operation, after the token was checked
    uploads    media, multipart and resumable uploads      (sessions, multipart, spool)
    objects    every other operation on objects and buckets
    oauth      the token endpoints                         (keyring)
    admin      /_local: keys, faults, the request journal, open sessions
    store      the objects themselves: generations, preconditions, one lock (metadata, checksums)
"""

from local.gcs.faults import Fault
from local.gcs.server import GcsServer

__all__ = ["Fault", "GcsServer"]
