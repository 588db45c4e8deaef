"""Add certificate authorities to the function's artifact: `certificates.py ARTIFACT`.

Writes `certificates/all.pem`, which is certifi's file, `certificates/all/` with a file for each
authority named by `openssl rehash`, and `certificates/amazon.pem`.
functions/replicate/certificates.py says what they are for.
"""

import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

AMAZON = ("Amazon Root CA", "Starfield Services Root Certificate Authority")
"""Amazon Trust Services. Source: amazontrust.com/repository."""


def main() -> None:
    """Write the folder into the artifact."""
    artifact = Path(sys.argv[1])
    write((artifact / "certifi" / "cacert.pem").read_text("utf-8"), artifact / "certificates")


def write(bundle: str, folder: Path, amazon: tuple[str, ...] = AMAZON) -> None:
    """Write the three forms of a bundle; nothing without an openssl command."""
    openssl = shutil.which("openssl")
    if openssl is None:
        sys.stderr.write("No openssl command found: new connections will cost 20 ms more CPU.\n")
        return
    every = folder / "all"
    every.mkdir(parents=True)
    (folder / "all.pem").write_text(bundle)
    certificates = list(_certificates(bundle))
    chosen = [text for label, text in certificates if any(name in label for name in amazon)]
    if not chosen:
        raise SystemExit(f"certifi's file names none of {', '.join(amazon)}.")
    (folder / "amazon.pem").write_text("".join(chosen))
    for number, (_, text) in enumerate(certificates):
        (every / f"{number}.pem").write_text(text)
    subprocess.run([openssl, "rehash", str(every)], check=True)  # noqa: S603 - found above
    for link in [path for path in every.iterdir() if path.is_symlink()]:
        link.resolve().replace(link)  # an archive's links may get lost
    for unlinked in every.glob("*.pem"):
        unlinked.unlink()


def _certificates(bundle: str) -> Iterator[tuple[str, str]]:
    """Yield each certificate of a bundle with the comment before it."""
    end = "-----END CERTIFICATE-----\n"
    for part in bundle.split(end)[:-1]:
        label, _, body = part.partition("-----BEGIN CERTIFICATE-----")
        yield label, f"-----BEGIN CERTIFICATE-----{body}{end}"


if __name__ == "__main__":
    main()
