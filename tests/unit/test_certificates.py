"""Which certificate authorities the SDKs are told to trust."""

from pathlib import Path

import pytest

from replicate import certificates


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return what the build puts beside the code."""
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
def test_the_authorities_are_the_same_each_time_they_are_chosen(
    folder: Path, region: str, file: str
) -> None:
    """The doctor builds a second environment: boto3 must not take the folder for a file."""
    environ: dict[str, str] = {}
    for _ in range(2):
        assert certificates.use(environ, region, folder) == str(folder / file)
        assert environ == {"REQUESTS_CA_BUNDLE": str(folder / "all")}


@pytest.mark.parametrize("name", ["AWS_CA_BUNDLE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE"])
def test_the_authorities_of_the_user_win(folder: Path, name: str) -> None:
    environ = {name: "/own.pem"}
    assert certificates.use(environ, "eu-west-1", folder) is None
    assert environ == {name: "/own.pem"}


def test_without_the_folder_of_the_build_nothing_is_said(tmp_path: Path) -> None:
    environ: dict[str, str] = {}
    assert certificates.use(environ, "eu-west-1", tmp_path / "none") is None
    assert environ == {}
