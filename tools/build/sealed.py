"""Runs an artifact in the runtime's emulator as Lambda does: with no package but its own."""

import sysconfig
from pathlib import Path

CLIENT = ("awslambdaric", "simplejson", "snapshot_restore_py.py", "runtime_client*.so")
"""What Lambda's runtime adds: its client, and what that imports."""

SITECUSTOMIZE = """\
import sys
sys.path[:] = [path for path in sys.path if "site-packages" not in path] + [{client!r}]
"""


def sealed(artifact: Path, folder: Path) -> dict[str, str]:
    """Return variables with which LambdaRuntime hides this machine's packages.

    Writes to `folder`, which must exist as long as the runtime does.
    """
    client, start = folder / "client", folder / "start"
    for path in (client, start):
        path.mkdir(exist_ok=True)
    installed = Path(sysconfig.get_path("platlib"))
    for pattern in CLIENT:
        for source in installed.glob(pattern):
            (client / source.name).symlink_to(source)
    (start / "sitecustomize.py").write_text(SITECUSTOMIZE.format(client=str(client)))
    return {"PYTHONPATH": f"{start}:{artifact}"}
