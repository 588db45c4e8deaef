"""`make build`: what is in the artifact, and that it runs with nothing beside it."""

import importlib.util
import json
import platform
import re
import struct
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args

import pytest
from sam.conftest import REPOSITORY, Make

from replicate.aws_clients import Service
from tools.build.prune_artifact import AWS_SERVICES
from tools.build.sealed import sealed
from tools.local.cloud import API_ONLY_BUCKET, REPLICA, local_cloud
from tools.local.notifications import notification, record
from tools.local.runtime import LambdaRuntime
from tools.local.template import parameters

pytestmark = pytest.mark.skipif(
    sys.version_info[:2] != (3, 13), reason="the artifact is for Python 3.13"
)

MAX_BYTES = 80_000_000
UNCHECKED_HASH = 1
MACHINES = {"x86_64": 0x3E, "arm64": 0xB7}
"""Of ELF files."""

MACHINE = "arm64" if platform.machine() in {"arm64", "aarch64"} else "x86_64"


def built(make: Make, folder: Path, architecture: str) -> Path:
    done = make("build", f"BUILD={folder}", f"ARCHITECTURE={architecture}")
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return folder / "ReplicateFunction"


@pytest.fixture(scope="module", name="artifact")
def artifact_for_this_machine(make: Make, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return built(make, tmp_path_factory.mktemp("build") / "artifact", MACHINE)


@pytest.fixture(scope="module", name="function")
def function_of_nothing_but_the_artifact(
    artifact: Path, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[LambdaRuntime]:
    folder = tmp_path_factory.mktemp("function")
    with local_cloud() as cloud:
        environment = cloud.function_environment | sealed(artifact, folder)
        cloud.aws.s3.put_object(Bucket=API_ONLY_BUCKET, Key="a b.txt", Body=b"content")
        function = LambdaRuntime(environment, folder=folder, code=artifact)
        try:
            yield function
        finally:
            function.close()


def machines(artifact: Path) -> set[int]:
    return {struct.unpack_from("<H", p.read_bytes(), 18)[0] for p in artifact.rglob("*.so")}


def sample(name: str) -> dict[str, Any]:
    event: dict[str, Any] = json.loads((REPOSITORY / "events" / name).read_text())
    return event


class TestContents:
    def test_is_small_enough(self, artifact: Path) -> None:
        assert sum(p.stat().st_size for p in artifact.rglob("*") if p.is_file()) <= MAX_BYTES

    def test_every_module_is_compiled_and_nobody_looks_at_times(self, artifact: Path) -> None:
        """Files' times do not survive zip: with them in it, no .pyc would be used."""
        for source in artifact.rglob("*.py"):
            compiled = Path(importlib.util.cache_from_source(str(source)))
            flags = struct.unpack_from("<I", compiled.read_bytes(), 4)[0]
            assert flags == UNCHECKED_HASH, source

    def test_traces_name_the_place_in_lambda(self, artifact: Path) -> None:
        handler = artifact / "replicate" / "handler.py"
        compiled = Path(importlib.util.cache_from_source(str(handler)))

        assert b"/var/task/replicate/handler.py" in compiled.read_bytes()

    def test_has_the_function_and_neither_tests_nor_tools(self, artifact: Path) -> None:
        assert (artifact / "replicate" / "handler.py").is_file()
        assert not [p for p in artifact.rglob("*") if p.name in {"tests", "pip", "pytest", "bin"}]
        assert not (artifact / "requirements.txt").exists()
        assert not (artifact / "Makefile").exists()

    def test_is_for_the_architecture_that_was_asked_for(self, artifact: Path) -> None:
        assert machines(artifact) == {MACHINES[MACHINE]}

    def test_is_built_for_the_other_architecture_too(self, make: Make, tmp_path: Path) -> None:
        assert machines(built(make, tmp_path / "arm", "arm64")) == {MACHINES["arm64"]}

    def test_the_bill_of_materials_beside_it_lists_exactly_the_locked_packages(
        self, artifact: Path
    ) -> None:
        bill = json.loads((artifact.parent / "sbom.json").read_text())
        locked = (REPOSITORY / "functions" / "requirements.txt").read_text()

        listed = {(part["name"], part["version"]) for part in bill["components"]}
        assert bill["bomFormat"] == "CycloneDX"
        assert listed == set(re.findall(r"^([a-z0-9-]+)==([^\s;]+)", locked, re.MULTILINE))
        assert len(listed) == len(list(artifact.glob("*.dist-info")))
        assert not {"serialNumber", "timestamp"} & {*bill, *bill["metadata"]}, "not reproducible"

    def test_licences_stay(self, artifact: Path) -> None:
        assert list(artifact.glob("boto3-*.dist-info/**/LICENSE*"))


class TestRuns:
    def test_an_object_is_replicated(self, function: LambdaRuntime) -> None:
        response = function.invoke(notification(record(API_ONLY_BUCKET, "a b.txt", size=7)))

        (result,) = response["results"]
        assert (result["status"], result["bytes_copied"]) == ("replicated", 7)
        assert result["destination"]["uri"] == f"gs://{REPLICA}/a b.txt"

    def test_requests_are_answered(self, function: LambdaRuntime) -> None:
        assert function.invoke(sample("api-v2-malformed-body.json"))["statusCode"] == 400

    def test_no_package_comes_from_elsewhere(self, artifact: Path, tmp_path: Path) -> None:
        """The tests above mean something only if they would miss what is missing."""
        (tmp_path / "probe.py").write_text("def handler(event, context):\n    import pytest\n")
        environment = {"AWS_REGION": "eu-central-1"} | sealed(artifact, tmp_path)
        environment["PYTHONPATH"] += f":{tmp_path}"
        probe = LambdaRuntime(
            environment, folder=tmp_path, code=tmp_path, handler="probe.handler", name="probe"
        )
        try:
            with pytest.raises(Exception, match="No module named 'pytest'"):
                probe.invoke({})
        finally:
            probe.close()


def test_every_client_the_code_makes_is_in_the_artifact() -> None:
    package = REPOSITORY / "functions" / "replicate"
    code = "".join(path.read_text() for path in package.rglob("*.py"))
    assert set(get_args(Service)) == AWS_SERVICES
    assert code.count("session.client(") == 1, "all clients are made where the services are named"


def test_a_plain_sam_build_is_for_the_architecture_that_the_template_has_by_default() -> None:
    makefile = (REPOSITORY / "functions" / "Makefile").read_text()

    assert f"ARCHITECTURE ?= {parameters()['Architecture']['Default']}\n" in makefile


def test_without_python_3_13_it_says_how_to_get_one(make: Make) -> None:
    done = make("build", "LAMBDA_PYTHON=")

    assert done.returncode != 0
    assert "pyenv install 3.13" in done.stderr
