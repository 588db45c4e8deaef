"""The stack's queues, through boto3."""

from replicate.sqs.queues import SqsQueues

__all__ = ["SqsQueues"]
