"""The stack's queues, through boto3."""
