"""Requests are signed as botocore signs them, whatever key they are for."""

from dataclasses import dataclass
from urllib.parse import quote

import pytest
from botocore.auth import S3SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from hypothesis import given
from hypothesis import strategies as st

from replicate.aws_credentials import AwsKeys
from replicate.signing import Signer

HOST = "bucket.s3.eu-west-1.amazonaws.com"
KEYS = st.text(st.characters(exclude_categories=["Cs"]), max_size=60)


@dataclass
class Vault:
    """Credentials that can be renewed."""

    keys: AwsKeys

    def __call__(self) -> AwsKeys:
        return self.keys


def by_botocore(keys: AwsKeys, method: str, url: str, signed: dict[str, str]) -> str:
    """The signature that botocore gives these very headers at this very time."""
    headers = {n: v for n, v in signed.items() if n not in {"Authorization", "Host"}}
    request = AWSRequest(method, url, headers=headers)
    request.context["timestamp"] = signed["X-Amz-Date"]
    auth = S3SigV4Auth(Credentials(keys.access_key, keys.secret_key, keys.token), "s3", "eu-west-1")
    text = auth.string_to_sign(request, auth.canonical_request(request))
    return str(auth.signature(text, request))


def signature(signed: dict[str, str]) -> str:
    return signed["Authorization"].rpartition("Signature=")[2]


@given(key=KEYS, token=st.none() | st.just("a/token+of=some sort"), version=KEYS)
def test_any_key_is_signed_as_botocore_signs_it(key: str, token: str | None, version: str) -> None:
    keys = AwsKeys("AKIAEXAMPLE", "wJalr/+secret", token)
    target = f"/{quote(key, safe='/~')}?partNumber=1&versionId={quote(version, safe='~')}"
    signed = Signer(lambda: keys, "s3", "eu-west-1").signed(
        "GET", target, {"Host": HOST, "If-Match": '"abc"', "Range": "bytes=5-"}
    )
    assert signature(signed) == by_botocore(keys, "GET", f"https://{HOST}{target}", signed)
    assert signed.get("X-Amz-Security-Token") == token


def test_keys_that_were_renewed_sign_the_next_request() -> None:
    vault = Vault(AwsKeys("AKIAOLD", "old"))
    signer = Signer(vault, "s3", "eu-west-1")
    before = signer.signed("HEAD", "/key", {"Host": HOST})
    vault.keys = AwsKeys("AKIANEW", "new", "token")
    after = signer.signed("HEAD", "/key", {"Host": HOST})
    assert "Credential=AKIAOLD/" in before["Authorization"]
    assert "Credential=AKIANEW/" in after["Authorization"]
    assert signature(after) == by_botocore(vault.keys, "HEAD", f"https://{HOST}/key", after)


@pytest.mark.parametrize("body", [b"", b'{"SecretId": "gcp"}'])
def test_the_body_is_signed(body: bytes) -> None:
    signer = Signer(lambda: AwsKeys("AKIA", "secret"), "secretsmanager", "eu-west-1")
    one = signer.signed("POST", "/", {"Host": "secretsmanager"}, body)
    other = signer.signed("POST", "/", {"Host": "secretsmanager"}, body + b" ")
    assert one["x-amz-content-sha256"] != other["x-amz-content-sha256"]
    assert signature(one) != signature(other)
