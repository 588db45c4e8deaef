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
    (folder / "all").mkdir(parents=True)
    (folder / "all.pem").write_text(bundle)
    chosen = []
    for number, (label, certificate) in enumerate(_certificates(bundle)):
        (folder / "all" / f"{number}.pem").write_text(certificate)
        if any(name in label for name in amazon):
            chosen.append(certificate)
    if not chosen:
        raise SystemExit(f"certifi's file names none of {', '.join(amazon)}.")
    (folder / "amazon.pem").write_text("".join(chosen))
    subprocess.run([openssl, "rehash", str(folder / "all")], check=True)  # noqa: S603 - found above
    for link in [path for path in (folder / "all").iterdir() if path.is_symlink()]:
        target = link.resolve()
        link.unlink()
        shutil.copyfile(target, link)  # an archive's links may get lost
    for number in range(len([*_certificates(bundle)])):
        (folder / "all" / f"{number}.pem").unlink()


def _certificates(bundle: str) -> Iterator[tuple[str, str]]:
    """Yield each certificate of a bundle with the comment before it."""
    end = "-----END CERTIFICATE-----\n"
    for part in bundle.split(end)[:-1]:
        label, _, body = part.partition("-----BEGIN CERTIFICATE-----")
        yield label, f"-----BEGIN CERTIFICATE-----{body}{end}"


if __name__ == "__main__":
    main()
