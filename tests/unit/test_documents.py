"""The documents name only files, headings, make targets and modules that exist."""

import re
import textwrap
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
DOCUMENTS = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/*.md"), *ROOT.glob("events/*.md")])
ARCHITECTURE = (ROOT / "docs" / "ARCHITECTURE.md").read_text()
LINK = re.compile(r"""(?:\]\(|src=")(?!https?:)([^)#\s"]*)(?:#([^)\s"]+))?[)"]""")


def named(path: Path) -> str:
    """Return the path from the top folder: the name of a test case."""
    return path.relative_to(ROOT).as_posix()


def prose(document: Path) -> str:
    """Return the text without fenced code blocks, in which links and headings do not count."""
    return re.sub(r"^\s*```.*?^\s*```", "", document.read_text(), flags=re.MULTILINE | re.DOTALL)


def anchors(document: Path) -> set[str]:
    """Return the anchors that GitHub gives to the headings."""
    headings: list[str] = re.findall(r"^#+ (.+)$", prose(document), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_link_targets_in_documents_exist(document: Path) -> None:
    for path, anchor in LINK.findall(prose(document)):
        target = (document.parent / path).resolve() if path else document
        assert target.exists(), path
        if anchor:
            assert anchor in anchors(target), f"{path}#{anchor}"


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_make_targets_in_documents_exist(document: Path) -> None:
    targets = set(re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE))
    # In code only: `make demo`, or a line of a shell block that begins with make.
    commands = re.findall(r"(?:`|^)make ([a-z][a-z -]*)", document.read_text(), re.MULTILINE)
    assert {target for command in commands for target in command.split()} <= targets


def test_architecture_document_names_each_module() -> None:
    package = ROOT / "functions" / "replicate"
    modules = [path for path in package.rglob("*.py") if path.name != "__init__.py"]
    missing = [named(path) for path in modules if not re.search(rf"\b{path.stem}\b", ARCHITECTURE)]
    assert not missing


def test_architecture_document_shows_the_code_of_the_handler() -> None:
    """What `Function.handle` does is there word for word."""
    (shown,) = re.findall(r"^```python\n(.*?)^```", ARCHITECTURE, re.MULTILINE | re.DOTALL)
    code = (ROOT / "functions" / "replicate" / "handler.py").read_text()
    assert textwrap.indent(shown, " " * 12) in code


def test_each_template_parameter_is_documented() -> None:
    template = (ROOT / "template.yaml").read_text()
    section = re.search(r"^Parameters:\n(.*?)^\w", template, re.MULTILINE | re.DOTALL)
    assert section
    parameters = set(re.findall(r"^  (\w+):$", section[1], re.MULTILINE))
    documented = set(re.findall(r"`(\w+)`", (ROOT / "docs" / "CONFIGURATION.md").read_text()))
    assert parameters
    assert parameters <= documented
