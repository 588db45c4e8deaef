"""Choose the certificate authorities for the SDKs, so that new connections cost less CPU.

urllib3 reads the whole file of authorities for each new connection, which takes 20 ms of CPU
(docs/PERFORMANCE.md; urllib3 issue 3623). The build therefore puts certifi's authorities beside the
code in two other forms: a folder from which OpenSSL reads one file per connection, and a file with
only the authorities that sign AWS's endpoints.
"""

from collections.abc import MutableMapping
from pathlib import Path

FOLDER = Path(__file__).parents[1] / "certificates"
"""tools/build/certificates.py writes it. Without it the SDKs use certifi's file."""

AMAZON_REGIONS = ("us-", "eu-", "ap-", "ca-", "sa-", "me-", "af-", "il-", "mx-")
"""Prefixes of the regions in the partitions aws and aws-us-gov.

Amazon Trust Services signs the certificates of their endpoints. All authorities stay trusted in
other regions, such as those in China. Source: AWS Storage Blog, "Amazon S3 ... migrating service
certificates", update of June 2022.
"""

_USER_VARIABLES = ("AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""Environment variables by which users set authorities of their own."""


def use(environ: MutableMapping[str, str], region: str, folder: Path = FOLDER) -> str | None:
    """Set the folder for `requests`. Return the file for boto3, or None for boto3's default.

    Change nothing if a variable of the user is set or the folder does not exist. A second call
    returns the same: the doctor builds all clients again.
    """
    hashed = str(folder / "all")
    if {environ.get(name, "") for name in _USER_VARIABLES} - {"", hashed} or not folder.is_dir():
        return None
    environ["REQUESTS_CA_BUNDLE"] = hashed
    if region.startswith(AMAZON_REGIONS) and not region.startswith("us-iso"):
        return str(folder / "amazon.pem")
    return str(folder / "all.pem")  # boto3 cannot read the folder that `requests` uses
