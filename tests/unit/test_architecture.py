"""The structure that docs/ARCHITECTURE.md draws is the structure of the code."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[2] / "functions" / "replicate"
PURE = {"objects", "errors", "mapping", "plan", "ports", "replication", "integrity"}
MODULES = sorted(path.stem for path in PACKAGE.glob("*.py") if path.stem != "__init__")


def imports(module: str) -> set[str]:
    """Everything a module imports, also below functions and conditions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse((PACKAGE / f"{module}.py").read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module == "replicate":
            found |= {f"replicate.{alias.name}" for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            found.add(node.module or "")
    return found


def reachable(module: str) -> set[str]:
    """The modules of ours that a module cannot do without."""
    seen: set[str] = set()
    todo = [module]
    while todo:
        ours = {n.split(".")[1] for n in imports(todo.pop()) if n.startswith("replicate.")}
        todo += ours - seen
        seen |= ours
    return seen


@pytest.mark.parametrize("module", MODULES)
def test_nothing_imports_itself_in_a_circle(module: str) -> None:
    if module != "handler":  # which imports the API when it is asked for it
        assert module not in reachable(module)


def test_the_protocol_knows_no_sdk_no_clock_no_logger_and_no_adapter() -> None:
    assert reachable("replication") | {"replication"} <= PURE
    for module in PURE - {"integrity"}:
        foreign = {name.split(".")[0] for name in imports(module)} - {"replicate"}
        assert foreign <= set(sys.stdlib_module_names) - {"time", "logging", "os", "socket"}, module
    assert "awscrt" in imports("integrity")  # the checksums, and nothing but


def test_the_two_stores_do_not_know_each_other() -> None:
    assert not reachable("s3") & {"gcs", "gcs_client", "gcs_json", "resumable"}
    assert "s3" not in reachable("gcs")


def test_only_the_way_in_reads_the_environment() -> None:
    assert [m for m in MODULES if "os" in imports(m)] == ["handler"]


@pytest.mark.parametrize("name", MODULES)
def test_no_module_bears_the_name_of_a_standard_one(name: str) -> None:
    """At the root of a Lambda archive it would hide it."""
    assert name not in sys.stdlib_module_names


def loaded_with_the_handler(environ: dict[str, str]) -> list[str]:
    """All modules that importing it imports, where nothing can connect to anything."""
    code = (
        f"import sys, socket; sys.path.insert(0, {str(PACKAGE.parent)!r});"
        "socket.socket.connect = None; import replicate.handler; print(*sorted(sys.modules))"
    )
    return subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-I", "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env=environ,
    ).stdout.split()


def test_importing_the_handler_does_nothing_but_import() -> None:
    """No client, no request, no setting; and nothing that most invocations do without."""
    unwanted = (
        *("aws_lambda_powertools.event_handler", "replicate.api", "replicate.doctor"),
        *("boto3", "botocore.", "google.cloud", "requests", "urllib3"),
    )
    assert not [m for m in loaded_with_the_handler({}) if m.startswith(unwanted)]


def test_a_snapshot_has_what_a_restore_would_wait_for() -> None:
    assert "boto3" in loaded_with_the_handler({"AWS_LAMBDA_INITIALIZATION_TYPE": "snap-start"})
