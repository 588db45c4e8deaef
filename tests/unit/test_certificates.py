"""The certificate authorities that the SDKs are configured to trust."""

from pathlib import Path

import pytest

from replicate import certificates


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return the folder that the build adds to the code."""
    (tmp_path / "all").mkdir()
    return tmp_path


@pytest.mark.parametrize(
    ("region", "file"),
    [
        ("eu-west-1", "amazon.pem"),
        ("us-gov-east-1", "amazon.pem"),
        ("cn-north-1", "all.pem"),
        ("us-iso-east-1", "all.pem"),
    ],
)
def test_same_authorities_are_chosen_each_time(folder: Path, region: str, file: str) -> None:
    """The doctor builds a second environment. boto3 takes a file and must not get the folder."""
    environ: dict[str, str] = {}
    for _ in range(2):
        assert certificates.use(environ, region, folder) == str(folder / file)
        assert environ == {"REQUESTS_CA_BUNDLE": str(folder / "all")}


@pytest.mark.parametrize("name", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_authorities_set_by_the_user_are_kept(folder: Path, name: str) -> None:
    environ = {name: "/own.pem"}
    assert certificates.use(environ, "eu-west-1", folder) is None
    assert environ == {name: "/own.pem"}


def test_nothing_is_set_when_the_build_folder_is_missing(tmp_path: Path) -> None:
    environ: dict[str, str] = {}
    assert certificates.use(environ, "eu-west-1", tmp_path / "none") is None
    assert environ == {}
