#!/usr/bin/env bash
#
# Build a stand-in for Lambda's Python image, for `make sam-local` on a machine that cannot reach the
# image itself: from Debian packages, a CPython that is already here, and what .venv has.
#
#   sudo tools/build/make-lambda-image.sh        needs docker.io and mmdebstrap; half a minute
#
#   PYTHON       the interpreter to put in: CPython 3.13 in a folder of its own (pyenv, uv)
#   DEB_MIRROR   where Debian packages come from (default: where apt gets them)
#
# As in Lambda's image: /var/lang has CPython, /var/runtime the runtime client and its bootstrap,
# /var/rapid the emulator; /var/task is the function's. Not as there: Debian instead of Amazon Linux,
# root instead of a user, no boto3 in the runtime. An image that is not ours is never replaced.
set -euo pipefail

VERSION=3.13
ARCH=$(uname -m | sed s/aarch64/arm64/)
LABEL=s3-to-gcs.stand-in
HERE=$(cd "$(dirname "$0")/.." && pwd)
SAM_PYTHON=$HERE/.venv/sam/bin/python
DEV_PYTHON=$HERE/.venv/dev/bin/python

say() { printf 'make-lambda-image: %s\n' "$*" >&2; }
die() { say "$*"; exit 1; }

[ "$(id -u)" = 0 ] || die "needs root: it unpacks a root file system"
for tool in docker mmdebstrap tar; do
  command -v $tool >/dev/null || die "needs $tool: apt-get install docker.io mmdebstrap"
done
[ -x "$SAM_PYTHON" ] && [ -x "$DEV_PYTHON" ] || die "needs the tools: run \`make setup\` first"
docker version >/dev/null 2>&1 || die "needs a Docker engine, and none answers \`docker version\`"

# The venv's interpreter names the installation it was made from.
PYTHON=${PYTHON:-$DEV_PYTHON}
"$PYTHON" -c "import sys; sys.exit('%d.%d' % sys.version_info[:2] != '$VERSION')" ||
  die "$PYTHON is not Python $VERSION: name one in PYTHON"
HOME_OF_PYTHON=$("$PYTHON" -c 'import sys; print(sys.base_prefix)')
[ "$HOME_OF_PYTHON" != /usr ] || die "$PYTHON is the system's own: one in a folder of its own is needed"

# The emulator is in the aws-sam-cli package, and where sam gets images is in its source.
eval "$("$SAM_PYTHON" - "$ARCH" <<'PYTHON'
import pathlib, sys
import samcli.local
from samcli.local.docker.lambda_image import LambdaImage
folder = pathlib.Path(samcli.local.__file__).parent / "rapid"
print(f"EMULATOR='{folder}/aws-lambda-rie-{sys.argv[1]}'")
print(f"IMAGE='{LambdaImage._INVOKE_REPO_PREFIX}/python'")
PYTHON
)"
# sam runs the last one, and makes it out of the second if it is missing.
TAGS=("$IMAGE:$VERSION" "$IMAGE:$VERSION-$ARCH" "$IMAGE:$VERSION-rapid-$ARCH")
for tag in "${TAGS[@]:0:2}"; do
  if docker image inspect "$tag" >/dev/null 2>&1 &&
    [ -z "$(docker image inspect -f "{{index .Config.Labels \"$LABEL\"}}" "$tag")" ]; then
    say "$tag is the real one: keeping it"
    exit 0
  fi
done

if [ -z "${DEB_MIRROR:-}" ]; then
  DEB_MIRROR=$({ cat /etc/apt/sources.list.d/*.sources /etc/apt/sources.list 2>/dev/null || true; } |
    sed -nE 's/^URIs: *([^ ]+).*/\1/p; s/^deb +(\[[^]]*\] +)?([^ ]+) .*/\2/p' | sed -n 1p)
fi
[ -n "$DEB_MIRROR" ] || die "apt names no source of packages: set DEB_MIRROR"
SUITE=$(. /etc/os-release && echo "${VERSION_CODENAME:-bookworm}")

# What CPython's extension modules link to, a shell with the commands that sam uses, the CA list and
# the time zones. Debian renames libraries with their versions, so take what this Debian has.
PACKAGES="base-files libc-bin dash coreutils libgcc-s1 libstdc++6 ca-certificates tzdata"
for library in libssl libffi zlib1g libbz2-1.0 liblzma libsqlite3-0 libexpat1 libuuid1 libncursesw6 libreadline8 libtinfo6; do
  found=$(apt-cache pkgnames "$library" | grep -xE "$library[0-9.]*(t64)?" | sort -V | tail -1)
  PACKAGES+=" ${found:?no Debian package for $library}"
done

WORK=$(mktemp -d)
trap 'rm -rf "$WORK"' EXIT
ROOT=$WORK/root

# Only unpacked, with no maintainer scripts: seconds, and small. Where Docker copies the whole image
# for each container (storage driver vfs), size is time.
say "unpacking Debian packages"
mmdebstrap --quiet --mode=root --variant=extract --include="$PACKAGES" \
  --hook-dir=/usr/share/mmdebstrap/hooks/merged-usr "$SUITE" "$ROOT" "$DEB_MIRROR" >"$WORK/log" 2>&1 ||
  { cat "$WORK/log" >&2; die "mmdebstrap failed"; }
cat "$ROOT"/usr/share/ca-certificates/mozilla/*.crt >"$ROOT/etc/ssl/certs/ca-certificates.crt"
mkdir -p "$ROOT/etc/pki/tls/certs" # Amazon Linux's name for the same file
ln -s /etc/ssl/certs/ca-certificates.crt "$ROOT/etc/pki/tls/certs/ca-bundle.crt"
echo 'root:x:0:0:root:/root:/bin/sh' >"$ROOT/etc/passwd"
echo 'root:x:0:' >"$ROOT/etc/group"
echo 'hosts: files dns' >"$ROOT/etc/nsswitch.conf"
[ -e "$ROOT/bin/sh" ] || ln -s dash "$ROOT/bin/sh"
rm -rf "$ROOT"/usr/share/{doc,man,locale,info,lintian,bug} "$ROOT"/usr/lib/*/gconv \
  "$ROOT"/var/cache/* "$ROOT"/var/lib/{apt,dpkg}

say "copying CPython and the runtime client"
mkdir -p "$ROOT"/var/{lang,task,runtime,rapid} "$ROOT/opt"
tar -C "$HOME_OF_PYTHON" -cf - --exclude=__pycache__ --exclude='site-packages/*' \
  --exclude='lib/python*/test' --exclude='lib/python*/config-*' --exclude='lib/python*/ensurepip' \
  --exclude='lib/python*/idlelib' --exclude='lib/python*/tkinter' --exclude='*/lib-dynload/_t[ek]*' \
  "bin/python$VERSION" "lib/python$VERSION" \
  $(cd "$HOME_OF_PYTHON" && ls lib/libpython*.so* 2>/dev/null) | tar -C "$ROOT/var/lang" -xf -
ln -s "python$VERSION" "$ROOT/var/lang/bin/python3"
if command -v strip >/dev/null; then # pyenv's builds keep tens of MB of symbols
  find "$ROOT/var/lang" \( -name '*.so*' -o -name "python$VERSION" \) -type f \
    -exec strip --strip-unneeded {} +
fi
SITE=$("$DEV_PYTHON" -c 'import sysconfig; print(sysconfig.get_path("platlib"))')
cp -R "$SITE"/{awslambdaric,simplejson,snapshot_restore_py.py,runtime_client*.so} "$ROOT/var/runtime"
install -m 755 "$EMULATOR" "$ROOT/var/rapid/aws-lambda-rie"

# What the emulator starts, with the handler's name in _HANDLER.
cat >"$ROOT/var/runtime/bootstrap" <<SH
#!/bin/sh
export AWS_EXECUTION_ENV=AWS_Lambda_python$VERSION
exec /var/lang/bin/python$VERSION /var/runtime/bootstrap.py "\$_HANDLER"
SH
# Lambda's order of imports: the function, layers, the standard library, and the runtime last, so
# that the function's own packages win.
cat >"$ROOT/var/runtime/bootstrap.py" <<'PYTHON'
import sys

rest = [path for path in sys.path if path != "/var/runtime"]
sys.path[:] = ["/var/task", "/opt/python", *rest, "/var/runtime"]

from awslambdaric.__main__ import main

main(sys.argv)
PYTHON
chmod 755 "$ROOT/var/runtime/bootstrap"
"$PYTHON" -m compileall -q -j0 -s "$ROOT" -p / --invalidation-mode unchecked-hash \
  "$ROOT/var/lang/lib/python$VERSION" "$ROOT/var/runtime"

say "importing"
OLD=$(docker image ls -q --filter "label=$LABEL" | sort -u)
tar -C "$ROOT" -cf - . | docker import \
  -c 'ENV LANG=C.UTF-8' -c 'ENV PATH=/var/lang/bin:/usr/bin:/bin' \
  -c 'ENV LD_LIBRARY_PATH=/var/lang/lib:/var/runtime:/var/task:/var/task/lib:/opt/lib' \
  -c 'ENV LAMBDA_TASK_ROOT=/var/task' -c 'ENV LAMBDA_RUNTIME_DIR=/var/runtime' -c 'WORKDIR /var/task' \
  -c 'ENTRYPOINT ["/var/rapid/aws-lambda-rie", "/var/runtime/bootstrap"]' \
  -c "LABEL $LABEL=1" - "${TAGS[0]}" >/dev/null
for tag in "${TAGS[@]:1}"; do docker tag "${TAGS[0]}" "$tag"; done
for old in $OLD; do docker image rm "$old" >/dev/null 2>&1 || true; done
say "$(docker image inspect -f '{{.Size}}' "${TAGS[0]}" | awk '{printf "%.0f", $1 / 1e6}') MB: ${TAGS[*]}"
