"""The script that asks a real bucket: here it asks our own server, and then a hostile one."""

import json
import os
import subprocess
import sys
from pathlib import Path

from contract.gcs_http import Gcs

from tools.ask_bucket import QUESTIONS
from tools.common.processes import plain_environment
from tools.local.gcs import Fault, GcsServer
from tools.local.runtime import REPOSITORY

WRITES = {"objects.insert", "objects.compose", "upload.start"}


def answers(server: GcsServer, folder: Path) -> list[str]:
    """Run the script, and return its answers in the order of the questions."""
    key = folder / "key.json"
    key.write_text(json.dumps(server.create_key()))
    done = subprocess.run(
        [sys.executable, "-m", "tools.ask_bucket", "b"],
        cwd=REPOSITORY,
        env={
            **plain_environment(),
            "PATH": os.environ["PATH"],
            "GOOGLE_APPLICATION_CREDENTIALS": str(key),
            "STORAGE_EMULATOR_HOST": server.url,
        },
        capture_output=True,
        text=True,
        check=False,
    )
    assert (done.returncode, done.stderr) == (0, "")
    rows = [line.strip("|").split("|") for line in done.stdout.splitlines()[2:]]
    assert [row[0].strip() for row in rows] == [*QUESTIONS]
    return [row[1].strip() for row in rows]


def test_the_script_asks_each_question_and_leaves_nothing(tmp_path: Path) -> None:
    with GcsServer(["b"]) as server:
        documented = answers(server, tmp_path)
        assert documented[:2] == [
            "refused with 412; 2 of 2 sources are left",
            "accepted; 0 of 2 sources are left. The credentials have storage.objects.delete",
        ]
        assert documented[5:7] == ["accepted", "accepted, as the same bytes"]
        assert documented[7:11] == ["refused with 400"] * 4
        assert not [each for each in documented if each.startswith("not answered")]

        server.add_fault(Fault(operation="objects.compose", delete_sources_anyway=True))
        server.add_fault(Fault(operation="objects.compose", keep_sources=True))
        server.add_fault(Fault(method="PUT", trust_gzip=True, times=5))
        hostile = answers(server, tmp_path)
        assert hostile[6:9] == ["accepted, as the same bytes"] * 3
        assert hostile[9:11] == [f"accepted, as {bytes_} bytes" for bytes_ in ("other", "the same")]
        assert hostile[0] == "refused with 412; 0 of 2 sources are left"
        assert hostile[1].startswith("accepted; 2 of 2 sources are left")

        written = {each["name"] for each in server.requests() if each["operation"] in WRITES}
        assert len(written) == 2 * 3, "three objects, in a folder of each run"
        listed = Gcs(server.url, "b", server.issue_token()).listing().json
        assert (listed.get("items"), server.sessions()) == (None, [])
