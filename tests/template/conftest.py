"""The template with its defaults."""

import pytest
from template.stack import Stack


@pytest.fixture(name="stack")
def default_stack() -> Stack:
    """Resolve the template with only the parameters that have no default."""
    return Stack()
