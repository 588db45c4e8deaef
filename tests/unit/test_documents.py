"""The documents name only files, headings, make targets and modules that exist."""

import re
import textwrap
from pathlib import Path

import pytest

from replicate.doctor import needed_permissions
from replicate.gcs.bucket import READ_SETTINGS
from replicate.protocol.plan import Policy

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


@pytest.mark.parametrize("document", DOCUMENTS, ids=named)
def test_shell_blocks_use_only_variables_that_their_document_sets(document: Path) -> None:
    """A reader begins on any page, in a new shell. AWS sets its own variables."""
    blocks = re.findall(r"^ *```sh\n(.*?)^ *```", document.read_text(), re.MULTILINE | re.DOTALL)
    used = set(re.findall(r"\$\{?(?!AWS_)([A-Z_]{2,})", "".join(blocks)))
    assert used <= set(re.findall(r"\b([A-Z_]+)(?:=| in )", "".join(blocks)))


def test_architecture_document_names_each_module() -> None:
    package = ROOT / "functions" / "replicate"
    modules = [path for path in package.rglob("*.py") if path.name != "__init__.py"]
    table = "\n".join(line for line in ARCHITECTURE.splitlines() if line.startswith("| `"))
    missing = [named(path) for path in modules if f"`{path.stem}`" not in table]
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


def readme_command(name: str) -> str:
    """Return a command of the README, up to the end of its last continued line."""
    (found,) = re.findall(
        rf"^gcloud {name}(?:.*\\\n)*.*$", (ROOT / "README.md").read_text(), re.MULTILINE
    )
    return str(found)


def test_the_role_of_the_readme_lets_the_doctor_check_everything() -> None:
    permissions = readme_command("iam roles create").split("--permissions ")[1].split(",")

    assert permissions == [*needed_permissions(Policy()), READ_SETTINGS]
    others = re.findall(r"--permissions (\S+)", (ROOT / "docs" / "SECURITY.md").read_text())
    assert len(others) == 3
    for each in others:
        assert READ_SETTINGS in each.split(",")


def test_the_provider_of_the_readme_takes_roles_of_the_account_only() -> None:
    """The mapping finds its text anywhere in an ARN, also in the path of a user."""
    command = readme_command("iam workload-identity-pools providers create-aws")

    role = "google.subject=assertion.arn.extract('assumed-role/{role}/')"
    assert f'--attribute-mapping "{role}"' in command
    roles = "arn:aws:sts::$AWS_ACCOUNT:assumed-role/"
    assert f"--attribute-condition \"assertion.arn.startsWith('{roles}')\"" in command
