"""What `sam local` needs of Docker: an engine, an image, and a way back to this machine."""

import ipaddress
import json
import platform
import socket
import subprocess
from pathlib import Path

RUNTIME = "python:3.13"
MACHINE = {"aarch64": "arm64", "arm64": "arm64"}.get(platform.machine(), "x86_64")
SAM_PYTHON = Path(__file__).resolve().parents[2] / ".venv" / "sam" / "bin" / "python"
PULL_WITHIN_S = 600


class NoDockerError(Exception):
    """There is no engine or no image here. The text says what to do about it."""


def require_image() -> None:
    """See that sam can run the function. Raises NoDockerError."""
    if _docker("version") is None:
        raise NoDockerError(
            "it needs a Docker engine, and none answers `docker version`. Start one, or use"
            " `make demo`: it runs the function in Lambda's runtime without Docker."
        )
    image = f"{_repository()}/{RUNTIME}-{MACHINE}"
    if _docker("image", "inspect", image) is None and _docker("pull", image) is None:
        raise NoDockerError(
            f"Docker has no image {image} and cannot pull it. On a Debian machine without access to"
            " it, `sudo tools/build/make-lambda-image.sh` builds a stand-in from Debian's packages."
        )


def gateway() -> str:
    """This machine's address on Docker's bridge; Docker Desktop brings containers to loopback."""
    (bridge,) = json.loads(_docker("network", "inspect", "bridge") or "[{}]")
    for config in bridge.get("IPAM", {}).get("Config", []):
        network = ipaddress.ip_network(config["Subnet"])
        address = config.get("Gateway") or str(next(network.hosts()))
        if _is_ours(address):
            return str(address)
    return "127.0.0.1"


def host() -> str:
    """Where the engine is: docker knows by its contexts, and sam does not read those."""
    found = _docker("context", "inspect", "--format", "{{.Endpoints.docker.Host}}")
    return (found or "").strip()


def _repository() -> str:
    """Where sam takes its images from, by its own account."""
    asked = "from samcli.local.docker.lambda_image import LambdaImage as I"
    done = subprocess.run(  # noqa: S603 - our own command
        [SAM_PYTHON, "-c", f"{asked}; print(I._INVOKE_REPO_PREFIX)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def _is_ours(address: str) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


def _docker(*arguments: str) -> str | None:
    """What docker printed; None when it failed or is not there."""
    try:
        done = subprocess.run(  # noqa: S603 - our own command
            ["docker", *arguments],  # noqa: S607 - wherever it is
            capture_output=True,
            text=True,
            check=True,
            timeout=PULL_WITHIN_S,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout
