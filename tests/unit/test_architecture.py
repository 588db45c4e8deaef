"""The code has the structure that docs/ARCHITECTURE.md describes."""

import ast
import functools
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2] / "functions"
PACKAGE = ROOT / "replicate"
NETWORK_MODULES = {"socket", "ssl", "select", "selectors", "asyncio", "http", "urllib"}
"""Standard modules that a hand-written HTTP client would use."""

ALLOWED = {"http", "urllib.parse"}
"""For status codes, and for the decoding of keys."""


def dotted(path: Path) -> str:
    """Return the dotted name of a module below `replicate`, such as `gcs.errors`."""
    parts = path.relative_to(PACKAGE).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


FILES = {dotted(path): path for path in PACKAGE.rglob("*.py") if path.parent != PACKAGE.parent}
MODULES = sorted(name for name in FILES if name)


@functools.cache
def imports(module: str) -> frozenset[str]:
    """Return everything a module imports, also inside functions and conditions."""
    imported: set[str] = set()
    for node in ast.walk(ast.parse(FILES[module].read_text())):
        if isinstance(node, ast.Import):
            imported |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            origin = node.module or ""
            below = {f"{origin}.{alias.name}" for alias in node.names}
            submodules = {name for name in below if name.removeprefix("replicate.") in FILES}
            imported |= submodules or {origin}
    return frozenset(imported)


def own_imports(module: str) -> frozenset[str]:
    """Return the modules of `replicate` that a module imports."""
    names = {n.removeprefix("replicate.") for n in imports(module) if n.startswith("replicate.")}
    return frozenset(names & FILES.keys())


def reachable(module: str) -> set[str]:
    """Return the modules of `replicate` that a module imports, directly or indirectly."""
    seen: set[str] = set()
    todo = [module]
    while todo:
        imported = own_imports(todo.pop())
        todo += imported - seen
        seen |= imported
    return seen


def within(module: str, package: str) -> bool:
    """Return whether a module is in a package, or is the package."""
    return module == package or module.startswith(f"{package}.")


def below(package: str) -> list[str]:
    """Return a package and its modules."""
    return [module for module in MODULES if within(module, package)]


PACKAGES = sorted(name for name, path in FILES.items() if name and path.name == "__init__.py")


def group(module: str) -> str:
    """Return the package of a module, or the module if it is in none."""
    return module.split(".", maxsplit=1)[0]


def drawn() -> str:
    """Return the imports between packages and modules, those that import most first.

    What all of them may import is left out: `errors` and `protocol`.
    """
    edges: dict[str, set[str]] = {group(module): set() for module in MODULES}
    for module in MODULES:
        edges[group(module)] |= {group(name) for name in own_imports(module)}
    for name, imported in edges.items():
        imported -= {name, "errors", "protocol"}

    def height(name: str) -> int:
        return 1 + max(map(height, edges[name]), default=0)

    names = sorted(filter(edges.get, edges), key=lambda name: (-height(name), name))
    return "".join(f"{name}: {', '.join(sorted(edges[name]))}\n" for name in names)


def test_architecture_document_lists_the_imports() -> None:
    text = (ROOT.parent / "docs" / "ARCHITECTURE.md").read_text()
    section = text.partition("## Import rules")[2]
    assert section.split("```")[1].strip() == drawn().strip()


@pytest.mark.parametrize("package", PACKAGES)
def test_package_exports_one_name(package: str) -> None:
    """Its first module defines nothing: it only imports the name."""
    tree = ast.parse(FILES[package].read_text())
    docstring, *body = tree.body
    assert isinstance(docstring, ast.Expr)
    imported = [alias.name for node in body[:-1] for alias in _names(node)]
    exports = body[-1]
    assert isinstance(exports, ast.Assign)
    assert ast.literal_eval(exports.value) == imported
    assert len(imported) == 1


def _names(node: ast.stmt) -> list[ast.alias]:
    assert isinstance(node, ast.ImportFrom)
    return node.names


SHARED = {
    "entry": {"invocation", "reading", "envelopes", "execution_watch", "nomination"},
    "settlement": {"failure", "policy", "settle"},
    "reconcile": {"ports", "rows", "paging", "steps"},
}
"""Modules that others import, besides the exported name. All may import those of `protocol`."""


@pytest.mark.parametrize("module", [m for m in MODULES if not m.endswith("wiring")])
def test_other_packages_import_only_what_a_package_shares(module: str) -> None:
    """The composition roots build everything, so they import every adapter's parts."""
    for name in own_imports(module):
        package, _, inner = name.partition(".")
        if inner and package not in {group(module), "protocol"} and group(module) not in CHECKS:
            assert inner in SHARED.get(package, set()), f"{module} imports {name}"


CHECKS = {"doctor", "bucket_checks", "canary", "staging_checks"}
"""Modules that look into adapters: they check them."""


@pytest.mark.parametrize("module", [m for m in MODULES if within(m, "settlement")])
def test_settlement_knows_no_adapter_and_no_settings(module: str) -> None:
    assert {group(name) for name in reachable(module)} <= {
        *("settlement", "entry", "protocol", "errors", "report"),
    }


@pytest.mark.parametrize("package", ["sqs", "stepfunctions"])
def test_adapters_of_aws_do_not_import_each_other(package: str) -> None:
    others = {"s3", "gcs", "sqs", "stepfunctions", "settings", "wiring"} - {package}
    for module in below(package):
        assert not {group(name) for name in reachable(module)} & others


@pytest.mark.parametrize("module", MODULES)
def test_module_has_no_circular_import(module: str) -> None:
    assert module not in reachable(module)


def test_protocol_does_no_io() -> None:
    """It imports no SDK, clock, logger or adapter. Only the checksums come from a library."""
    for module in below("protocol"):
        assert reachable(module) <= {"errors", *below("protocol")}
        if module != "protocol.deadline":
            foreign = {name.split(".")[0] for name in imports(module)} - {"replicate"}
            pure = set(sys.stdlib_module_names) - {"time", "logging", "os", "socket"}
            assert foreign <= pure | {"awscrt"}, module
    assert [m for m in below("protocol") if "awscrt" in imports(m)] == ["protocol.checksums"]


def test_entry_imports_the_protocol_but_no_settings_or_adapters() -> None:
    for module in below("entry"):
        assert reachable(module) <= {"errors", "report", *below("entry"), *below("protocol")}


def test_only_the_composition_root_imports_both_adapters() -> None:
    importers = {m for m in MODULES if all(own_imports(m) & set(below(a)) for a in ("s3", "gcs"))}
    assert importers == {"wiring", "reconcile_wiring"}


def test_a_reconcile_knows_no_adapter_and_no_settings() -> None:
    adapters = ("s3", "gcs", "sqs", "stepfunctions", "aws_clients", "settings", "wiring")
    for module in below("reconcile"):
        assert not {name for name in reachable(module) for a in adapters if within(name, a)}, module
    pure = [f"reconcile.{name}" for name in ("rows", "merge", "compare", "counts")]
    for module in pure:
        assert reachable(module) <= {"errors", *pure, *below("protocol")}


@pytest.mark.parametrize("module", [m for m in MODULES if within(m, "s3")])
def test_s3_does_not_import_gcs(module: str) -> None:
    assert not {name for name in reachable(module) if within(name, "gcs")}
    assert not {name for name in imports(module) if within(name, "google")}


@pytest.mark.parametrize("module", [m for m in MODULES if within(m, "gcs")])
def test_gcs_does_not_import_s3(module: str) -> None:
    assert not {name for name in reachable(module) if within(name, "s3")}


@pytest.mark.parametrize("module", MODULES)
def test_sdks_are_imported_only_by_the_adapters(module: str) -> None:
    if not any(
        within(module, adapter)
        for adapter in ("s3", "gcs", "stepfunctions", "sqs", "aws_clients", "aws_calls")
    ):
        sdks = ("boto3", "botocore", "google", "requests", "urllib3")
        assert not {name for name in imports(module) for sdk in sdks if within(name, sdk)}


@pytest.mark.parametrize("module", MODULES)
def test_module_does_not_import_low_level_network_modules(module: str) -> None:
    network_modules = {name for name in imports(module) if name.split(".")[0] in NETWORK_MODULES}
    assert network_modules <= ALLOWED


@pytest.mark.parametrize("module", MODULES)
def test_module_uses_no_private_name_of_a_library(module: str) -> None:
    """Private names are allowed on `self` and on what the module itself defines."""
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
            is_own = _is_self(node.value) or node.attr in own | {
                "__name__",
                "__context__",
                "__cause__",
            }
            assert is_own, f"{node.attr} in line {node.lineno}"
        if isinstance(node, ast.keyword) and node.arg:
            assert not node.arg.startswith("_"), f"{node.arg}= in line {node.value.lineno}"
        if isinstance(node, ast.Name) and node.id == "setattr":
            assert module == "gcs.resource"  # the public properties of a blob, by name
    assert not {name for name in imports(module) if "._" in name and "replicate" not in name}


def _is_self(node: ast.expr) -> bool:
    return (isinstance(node, ast.Name) and node.id in {"self", "cls"}) or (
        isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "super"
    )


def test_only_one_module_compresses() -> None:
    assert [m for m in MODULES if any(within(n, "isal") for n in imports(m))] == ["gzip_member"]


def test_only_the_handler_reads_the_environment() -> None:
    assert [m for m in MODULES if "os" in imports(m)] == ["handler"]


@pytest.mark.parametrize("name", sorted({name.split(".")[0] for name in MODULES}))
def test_module_does_not_shadow_a_standard_module(name: str) -> None:
    """At the root of a Lambda archive it would be imported instead of the standard one."""
    assert name not in sys.stdlib_module_names


def modules_loaded_with_the_handler() -> list[str]:
    """Return the modules that are loaded with the handler in a process that cannot connect."""
    code = (
        f"import sys, socket; sys.path.insert(0, {str(ROOT)!r});"
        "socket.socket.connect = None; import replicate.handler; print(*sorted(sys.modules))"
    )
    return subprocess.run(  # noqa: S603 - our own interpreter
        [sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True, env={}
    ).stdout.split()


def test_importing_the_handler_has_no_side_effect() -> None:
    """It builds no client, sends no request, and loads only what most invocations need."""
    unwanted = (
        *("aws_lambda_powertools.event_handler", "replicate.entry.http_api", "replicate.doctor"),
        *("replicate.reconcile", "replicate.reconcile_wiring"),
        *("grpc", "google.cloud.storage.asyncio", "isal"),
    )
    assert not [m for m in modules_loaded_with_the_handler() if m.startswith(unwanted)]
