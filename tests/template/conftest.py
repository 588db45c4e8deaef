"""The translator asks boto3 for a region, and the machine may have none."""

import pytest
from template.stack import Stack


@pytest.fixture(autouse=True)
def region(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")


@pytest.fixture(name="stack")
def default_stack() -> Stack:
    """With nothing but the parameters that have no default."""
    return Stack()
