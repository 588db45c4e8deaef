"""docs/GUARANTEES.md, docs/SECURITY.md and docs/OPERATIONS.md agree with the tests."""

import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from model.promises import Promise
from model.test_variants import VARIANTS

REPOSITORY = Path(__file__).parents[2]
DOCUMENTS = {
    name: (REPOSITORY / "docs" / f"{name}.md").read_text()
    for name in ("GUARANTEES", "SECURITY", "OPERATIONS")
}
TEXT = DOCUMENTS["GUARANTEES"]
NAMED = r"`((?:test_|Test)\w+)`"
LINKED = r"\]\(\.\./(tests/[\w/]+\.py)\)((?:,?\s+(?:and )?`(?:test_|Test)\w+`)+)"
"""A link to a file of tests, and the names after it."""

COLUMNS = (Promise.EQUAL, Promise.FORWARD, Promise.WHOLE)

TABLES_OF_PROMISES = {"Promise", "Key", "Delivery", "Attempt", "Incident"}
"""First columns of the tables in which each row is a promise."""

SECTIONS_WITHOUT_PROMISES = {"Why each part is needed", "What is not promised"}


def defined_in(text: str) -> set[str]:
    """Return the names of tests, and of classes of tests, in a file's text."""
    return set(re.findall(r"^\s*(?:def |class )?((?:test_|Test)\w+)\b", text, re.MULTILINE))


FILES = {
    str(path.relative_to(REPOSITORY)): defined_in(path.read_text())
    for path in REPOSITORY.glob("tests/**/test_*.py")
}
TESTS = set[str]().union(*FILES.values())


def promises() -> Iterator[tuple[str, str]]:
    """Yield each row of the tables and each bullet that promises something, with its document.

    A bullet promises something if it begins in bold, unless its section only explains.
    """
    for document, text in DOCUMENTS.items():
        section = column = ""
        for block in re.split(r"\n(?=#|\||- |\n)", text):
            first = block.split("|")[1].strip() if block.startswith("|") else ""
            if block.startswith("#"):
                section = block.partition("\n")[0].lstrip("# ")
            is_bullet = block.startswith("- **") and section not in SECTIONS_WITHOUT_PROMISES
            if not block.startswith("|"):
                column = ""
            elif not column:
                column = first
                continue
            is_row = column in TABLES_OF_PROMISES and not first.startswith("---")
            if is_row or (is_bullet and document == "GUARANTEES"):
                yield document, block


PROMISES = [*promises()]


@pytest.mark.parametrize("name", sorted(set(re.findall(NAMED, "".join(DOCUMENTS.values())))))
def test_named_test_exists(name: str) -> None:
    assert name in TESTS


@pytest.mark.parametrize("document", DOCUMENTS)
def test_test_is_in_the_file_that_is_linked_before_it(document: str) -> None:
    linked = re.findall(LINKED, DOCUMENTS[document])
    wrong = {
        name: path
        for path, names in linked
        for name in re.findall(NAMED, names)
        if name not in FILES[path]
    }
    assert linked
    assert wrong == {}


@pytest.mark.parametrize(("document", "promise"), PROMISES, ids=lambda text: text[:60])
def test_promise_names_a_test(document: str, promise: str) -> None:
    assert re.search(NAMED, promise) or "not promised" in promise, f"docs/{document}.md: {promise}"


SECTIONS = re.findall(r"^### (With .*?)(?=^#|\Z)", DOCUMENTS["SECURITY"], re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("section", SECTIONS, ids=lambda text: text.partition("\n")[0])
def test_what_an_attacker_can_do_names_a_test(section: str) -> None:
    assert re.search(NAMED, section), section


def test_promises_of_every_table_are_found() -> None:
    """Each of these numbers is less than there are, so the search has not gone blind."""
    rows = [document for document, text in PROMISES if text.startswith("|")]
    assert rows.count("GUARANTEES") > 30
    assert rows.count("SECURITY") > 15
    assert rows.count("OPERATIONS") > 15
    assert len(PROMISES) - len(rows) > 15
    assert len(SECTIONS) > 5


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
