"""The destination: GCS, through google-cloud-storage."""

from replicate.gcs.destination import GcsDestination

__all__ = ["GcsDestination"]
