"""The Lambda function that tutorials show: boto3's body into `blob.upload_from_file`."""

import json
import os
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote_plus

import boto3
from google.cloud import storage

if TYPE_CHECKING:
    from types_boto3_s3 import S3Client

    from tools.benchmarks.worker import Handler


def clients() -> "tuple[S3Client, storage.Bucket]":
    """Return what such a function has at the top of its module."""
    s3 = boto3.client("s3")
    secret = boto3.client("secretsmanager").get_secret_value(SecretId="gcp")["SecretString"]
    gcs = storage.Client.from_service_account_info(
        json.loads(secret), client_options={"api_endpoint": os.environ["GCS_URL"]}
    )
    return s3, gcs.bucket(os.environ["GCS_BUCKET_NAME"])


def build() -> "Handler":
    """Make the clients."""
    s3, bucket = clients()

    def handler(event: dict[str, Any], _context: object) -> dict[str, Any]:
        results = []
        for record in event["Records"]:
            key = unquote_plus(record["s3"]["object"]["key"])
            blob = bucket.blob(key)
            if blob.exists():
                results.append({"status": "skipped", "key": key})
                continue
            found = s3.get_object(Bucket=record["s3"]["bucket"]["name"], Key=key)
            blob.upload_from_file(found["Body"])
            results.append({"status": "replicated", "key": key})
        return {"results": results}

    return handler
