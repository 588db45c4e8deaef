"""The structure that docs/ARCHITECTURE.md draws is the structure of the code."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "functions"
PACKAGE = ROOT / "replicate"
OWN_CLIENTS = {"socket", "ssl", "select", "selectors", "asyncio", "http", "urllib"}
"""Standard modules a client of one's own would be made of."""

ALLOWED = {"http", "urllib.parse"}
"""Status codes, and the decoding of keys."""


def dotted(path: Path) -> str:
    """Name of a module below `replicate`: `gcs.errors`; a package is called by its folder."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {dotted(path): path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE.parent}
MODULES = sorted(name for name in FILES if name)


def imports(module: str) -> set[str]:
    """Return everything a module imports, also below functions and conditions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(FILES[module].read_text())):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            origin = node.module or ""
            below = {f"{origin}.{alias.name}" for alias in node.names}
            submodules = {name for name in below if name.removeprefix("replicate.") in FILES}
            found |= submodules or {origin}
    return found


def ours(module: str) -> set[str]:
    """Return the modules of ours that a module imports."""
    names = {n.removeprefix("replicate.") for n in imports(module) if n.startswith("replicate.")}
    return names & FILES.keys()


def reachable(module: str) -> set[str]:
    """Return the modules of ours that a module cannot do without."""
    seen: set[str] = set()
    todo = [module]
    while todo:
        found = ours(todo.pop())
        todo += found - seen
        seen |= found
    return seen


def within(module: str, package: str) -> bool:
    """Whether a module is a package, or below it."""
    return module == package or module.startswith(f"{package}.")


def below(package: str) -> list[str]:
    """Return a package and its modules."""
    return [module for module in MODULES if within(module, package)]


@pytest.mark.parametrize("module", MODULES)
def test_no_module_imports_itself_in_a_circle(module: str) -> None:
    assert module not in reachable(module)


def test_the_protocol_does_no_io() -> None:
    """It imports no SDK, clock, logger or adapter; only the checksums come from a library."""
    for module in below("protocol"):
        assert reachable(module) <= {"errors", *below("protocol")}
        if module != "protocol.deadline":
            foreign = {name.split(".")[0] for name in imports(module)} - {"replicate"}
            pure = set(sys.stdlib_module_names) - {"time", "logging", "os", "socket"}
            assert foreign <= pure | {"awscrt"}, module
    assert [m for m in below("protocol") if "awscrt" in imports(m)] == ["protocol.checksums"]


def test_the_entry_knows_the_protocol_and_neither_settings_nor_adapters() -> None:
    for module in below("entry"):
        assert reachable(module) <= {"errors", "report", *below("entry"), *below("protocol")}


def test_only_the_composition_root_knows_both_adapters() -> None:
    knowing = {m for m in MODULES if all(ours(m) & set(below(a)) for a in ("s3", "gcs"))}
    assert knowing == {"wiring"}


@pytest.mark.parametrize("module", [m for m in MODULES if within(m, "s3")])
def test_s3_does_not_know_gcs(module: str) -> None:
    assert not {name for name in reachable(module) if within(name, "gcs")}
    assert not {name for name in imports(module) if within(name, "google")}


@pytest.mark.parametrize("module", [m for m in MODULES if within(m, "gcs")])
def test_gcs_does_not_know_s3(module: str) -> None:
    assert not {name for name in reachable(module) if within(name, "s3")}


@pytest.mark.parametrize("module", MODULES)
def test_the_sdks_are_used_in_the_adapters_only(module: str) -> None:
    if not any(
        within(module, adapter) for adapter in ("s3", "gcs", "stepfunctions", "aws_clients")
    ):
        sdks = ("boto3", "botocore", "google", "requests", "urllib3")
        assert not {name for name in imports(module) for sdk in sdks if within(name, sdk)}


@pytest.mark.parametrize("module", MODULES)
def test_no_module_is_made_of_parts_of_a_client_of_its_own(module: str) -> None:
    made_of = {name for name in imports(module) if name.split(".")[0] in OWN_CLIENTS}
    assert made_of <= ALLOWED


@pytest.mark.parametrize("module", MODULES)
def test_nothing_private_of_a_library_is_used_or_patched(module: str) -> None:
    """Private names are used on `self` and on what the module itself defines."""
    tree = ast.parse(FILES[module].read_text())
    own = {
        name
        for node in ast.walk(tree)
        for name in (
            [node.attr] if isinstance(node, ast.Attribute) and _is_self(node.value) else []
        )
    } | {node.name for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and node.attr.startswith("_"):
            known = _is_self(node.value) or node.attr in own | {
                "__name__",
                "__context__",
                "__cause__",
            }
            assert known, f"{node.attr} in line {node.lineno}"
        if isinstance(node, ast.keyword) and node.arg:
            assert not node.arg.startswith("_"), f"{node.arg}= in line {node.value.lineno}"
        if isinstance(node, ast.Name) and node.id == "setattr":
            assert module == "gcs.resource"  # the public properties of a blob, by name
    assert not {name for name in imports(module) if "._" in name and "replicate" not in name}


def _is_self(node: ast.expr) -> bool:
    return (isinstance(node, ast.Name) and node.id in {"self", "cls"}) or (
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "super"
    )


def test_only_the_way_in_reads_the_environment() -> None:
    assert [m for m in MODULES if "os" in imports(m)] == ["handler"]


@pytest.mark.parametrize("name", sorted({name.split(".")[0] for name in MODULES}))
def test_no_module_bears_the_name_of_a_standard_one(name: str) -> None:
    """At the root of a Lambda archive it would hide it."""
    assert name not in sys.stdlib_module_names


def loaded_with_the_handler() -> list[str]:
    """Return all modules that importing it imports, where nothing can connect to anything."""
    code = (
        f"import sys, socket; sys.path.insert(0, {str(ROOT)!r});"
        "socket.socket.connect = None; import replicate.handler; print(*sorted(sys.modules))"
    )
    return subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True, env={}
    ).stdout.split()


def test_importing_the_handler_does_nothing_but_import() -> None:
    """No client, no request, no setting; and nothing that most invocations do without."""
    unwanted = (
        *("aws_lambda_powertools.event_handler", "replicate.entry.http_api", "replicate.doctor"),
        *("grpc", "google.cloud.storage.asyncio"),
    )
    assert not [m for m in loaded_with_the_handler() if m.startswith(unwanted)]
