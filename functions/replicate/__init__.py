"""Keep a Google Cloud Storage bucket equal to an S3 bucket, one key at a time.

docs/ARCHITECTURE.md shows how an event is processed and which package imports which.
"""
