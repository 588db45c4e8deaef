"""Keep a Google Cloud Storage bucket equal to an S3 bucket, one key at a time.

How one event travels:

    handler                 parse the event, replicate each change, settle what failed, respond
    entry                   what each invoker sends, and the response that it gets
    protocol                the replication of one key, without I/O: replicator, then plan
    s3, gcs                 the source and the destination
    telemetry, report       the log line and the metrics of a change
    settlement, sqs         what failed: a dead letter, or a later delivery

docs/ARCHITECTURE.md describes the way in more detail, and all other modules.
"""
