"""A local Google Cloud Storage server: the JSON API that the function and its tests use.

Run `python -m tools.local.gcs`, or in a test `with GcsServer(buckets=["b"]) as server`.
tests/contract specifies it, and can check any other server too.

How a request travels:

    http_server             sockets: Werkzeug's requests and responses (messages, body)
    api                     routes: from method and path to an operation
    uploads                 media, multipart and resumable uploads (multipart, sessions, gzip_body)
    objects, media, copies  the other operations of the storage API
    partial                 the `fields` of a response
    oauth                   the token endpoints (keyring, scopes)
    admin                   /_local: keys, faults, request log, open sessions
    store                   the objects, behind one lock (metadata, preconditions, checksums, spool)
"""

from tools.local.gcs.faults import Fault
from tools.local.gcs.server import GcsServer

__all__ = ["Fault", "GcsServer"]
