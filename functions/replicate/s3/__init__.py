"""The source: S3, through boto3."""

from replicate.s3.source import S3Source

__all__ = ["S3Source"]
