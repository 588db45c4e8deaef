"""`make sam-local`: it is run by hand, as it needs Docker; here, that it can be relied on."""

import json
import subprocess
import sys
from pathlib import Path
from urllib.parse import unquote_plus

from sam.conftest import REPOSITORY

from tools.build.docker_cloud import BUCKET
from tools.build.sam_local import INVOCATIONS, NOT_RUN, OBJECTS


def test_every_sample_has_an_expectation() -> None:
    assert set(INVOCATIONS) == {path.name for path in (REPOSITORY / "events").glob("*.json")}


def test_every_object_that_a_sample_names_is_there() -> None:
    events = [json.loads(path.read_text()) for path in (REPOSITORY / "events").glob("s3-*.json")]
    named = [record["s3"] for event in events for record in event.get("Records", [])]

    assert {described["bucket"]["name"] for described in named} == {BUCKET}
    keys = {unquote_plus(d["object"]["key"]) for d in named if "key" in d["object"]}
    assert keys <= set(OBJECTS)


def test_without_docker_it_says_so_and_does_not_claim_success(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "tools.build.sam_local", "template.yaml"],
        cwd=REPOSITORY,
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == NOT_RUN
    assert "it needs a Docker engine" in done.stderr
    assert "make demo" in done.stderr
