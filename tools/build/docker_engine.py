"""What `sam local` needs of Docker: an engine, an image, and a way back to this machine."""

import ipaddress
import json
import platform
import socket
import subprocess

from tools.local.runtime import REPOSITORY

RUNTIME = "python:3.13"
MACHINE = {"aarch64": "arm64", "arm64": "arm64"}.get(platform.machine(), "x86_64")
SAM_PYTHON = REPOSITORY / ".venv" / "sam" / "bin" / "python"
PULL_WITHIN_S = 600


class NoDockerError(Exception):
    """Docker has no engine or no image. The text says what to do."""


def require_image() -> None:
    """Check that sam can run the function; pull the image if necessary. Raises NoDockerError."""
    if _docker("version") is None:
        raise NoDockerError(
            "it needs a Docker engine, and `docker version` finds none. Start one, or use"
            " `make demo`: it runs the function in Lambda's runtime without Docker."
        )
    image = f"{_image_repository()}/{RUNTIME}-{MACHINE}"
    if _docker("image", "inspect", image) is None and _docker("pull", image) is None:
        raise NoDockerError(
            f"Docker has no image {image} and cannot pull it: check its access to that registry."
        )


def gateway() -> str:
    """Return this machine's address on Docker's bridge. Docker Desktop uses loopback."""
    (bridge,) = json.loads(_docker("network", "inspect", "bridge") or "[{}]")
    for config in bridge.get("IPAM", {}).get("Config", []):
        network = ipaddress.ip_network(config["Subnet"])
        address = config.get("Gateway") or str(next(network.hosts()))
        if _is_own(address):
            return str(address)
    return "127.0.0.1"


def host() -> str:
    """Return the engine's address. `docker` reads it from its contexts; sam does not."""
    found = _docker("context", "inspect", "--format", "{{.Endpoints.docker.Host}}")
    return (found or "").strip()


def _image_repository() -> str:
    """Return the registry from which sam takes its images, as sam's code states it."""
    code = "from samcli.local.docker.lambda_image import LambdaImage as I"
    done = subprocess.run(  # noqa: S603 - our own command
        [SAM_PYTHON, "-c", f"{code}; print(I._INVOKE_REPO_PREFIX)"],
        capture_output=True,
        text=True,
        check=True,
    )
    return done.stdout.strip()


def _is_own(address: str) -> bool:
    with socket.socket() as probe:
        try:
            probe.bind((address, 0))
        except OSError:
            return False
    return True


def _docker(*arguments: str) -> str | None:
    """Return docker's output; None when it failed or does not exist."""
    try:
        done = subprocess.run(  # noqa: S603 - our own command
            ["docker", *arguments],  # noqa: S607 - found by PATH
            capture_output=True,
            text=True,
            check=True,
            timeout=PULL_WITHIN_S,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout
