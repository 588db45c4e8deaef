"""docs/GUARANTEES.md, docs/SECURITY.md and docs/OPERATIONS.md agree with the tests."""

import re
from pathlib import Path

import pytest
from model.promises import Promise
from model.test_variants import VARIANTS

REPOSITORY = Path(__file__).parents[2]
TEXT = (REPOSITORY / "docs" / "GUARANTEES.md").read_text()
OTHERS = "".join(
    (REPOSITORY / "docs" / f"{name}.md").read_text() for name in ("SECURITY", "OPERATIONS")
)
TESTS = "\n".join(path.read_text() for path in REPOSITORY.glob("tests/**/test_*.py"))

COLUMNS = (Promise.EQUAL, Promise.FORWARD, Promise.WHOLE)


@pytest.mark.parametrize("name", sorted(set(re.findall(r"`((?:test_|Test)\w+)`", TEXT + OTHERS))))
def test_named_test_exists(name: str) -> None:
    assert re.search(rf"^\s*(def |class )?{name}\b", TESTS, re.MULTILINE)


@pytest.mark.parametrize("target", sorted(set(re.findall(r"\]\((?!https?:)([^)#]+)", TEXT))))
def test_link_target_exists(target: str) -> None:
    assert (REPOSITORY / "docs" / target).exists()


def test_documented_table_of_variants_equals_the_tested_one() -> None:
    documented = dict(
        re.findall(r"^\| (.+?) \| ((?:yes|no) \| (?:yes|no) \| (?:yes|no)) \|$", TEXT, re.MULTILINE)
    )
    tested = {
        variant: " | ".join("no" if promise in broken else "yes" for promise in COLUMNS)
        for variant, (_, broken) in VARIANTS.items()
    }
    assert documented == tested
