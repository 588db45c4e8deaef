"""Which certificate authorities the SDKs trust: fewer to read, so that connections cost less.

urllib3 reads the whole file of authorities for every new connection, 20 ms of CPU each (urllib3
issue 3623). So the build puts two smaller forms of certifi's authorities beside the code: a folder
of which OpenSSL reads one file for a connection, and a file with those that sign AWS's endpoints.
"""

from collections.abc import MutableMapping
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "certificates"
"""Made by tools/build/certificates.py; without it the SDKs read certifi's file."""

AMAZON_SIGNS = ("us-", "eu-", "ap-", "ca-", "sa-", "me-", "af-", "il-", "mx-")
"""Regions of the partitions aws and aws-us-gov, whose endpoints have certificates of Amazon Trust
Services. Source: AWS Storage Blog, "Amazon S3 ... migrating service certificates", update of June
2022. Others, such as China's, keep all authorities."""

_OWN = ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""What the SDKs read, if the user has authorities of his own."""


def use(environ: MutableMapping[str, str], region: str, folder: Path = FOLDER) -> str | None:
    """Let `requests` use the folder; return what boto3 verifies with, None for its default.

    Does nothing where the user has said which authorities to trust. Says the same when it is called
    again: the doctor builds everything anew.
    """
    hashed = str(folder / "all")
    if {environ.get(name, "") for name in _OWN} - {"", hashed} or not folder.is_dir():
        return None
    environ["REQUESTS_CA_BUNDLE"] = hashed
    if region.startswith(AMAZON_SIGNS) and not region.startswith("us-iso"):
        return str(folder / "amazon.pem")
    return str(folder / "all.pem")  # boto3 would else take the folder for a file
