"""What becomes of messages that failed: dead letters, and later deliveries."""

from replicate.settlement.settle import Settlement

__all__ = ["Settlement"]
