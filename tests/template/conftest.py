"""The template as it is deployed most simply."""

import pytest
from template.stack import Stack


@pytest.fixture(name="stack")
def default_stack() -> Stack:
    """With nothing but the parameters that have no default."""
    return Stack()
