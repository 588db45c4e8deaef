"""The protocol: make one GCS object equal what S3 holds now. No I/O."""

from replicate.protocol.replicator import Replicator

__all__ = ["Replicator"]
