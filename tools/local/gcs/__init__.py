"""A local Google Cloud Storage server: the JSON API our function and its tests rely on.

Run `python -m tools.local.gcs`, or in a test `with GcsServer(buckets=["b"]) as server`.
What it promises is written down, and checked against any other server too, in tests/contract.

How a request travels:

    listener, connection    sockets: the body as it arrives (framing), the answer in one segment
    api                     the route table: path -> operation, after the token was checked
    uploads                 media, multipart and resumable uploads (multipart, sessions)
    objects, media, copies, listing, buckets    every other operation of the storage API
    partial                 the `fields` of an answer
    oauth                   the token endpoints (keyring, scopes)
    admin                   /_local: keys, faults, the journal of requests, open sessions
    store                   the objects, behind one lock (metadata, contexts, preconditions,
                            checksums, spool)
"""

from tools.local.gcs.faults import Fault
from tools.local.gcs.server import GcsServer

__all__ = ["Fault", "GcsServer"]
