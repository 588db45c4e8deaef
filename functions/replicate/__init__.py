"""Keep a Google Cloud Storage bucket equal to an S3 bucket, one key at a time.

The way of an event and who imports whom: docs/ARCHITECTURE.md.
"""
