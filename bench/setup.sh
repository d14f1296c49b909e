#!/bin/sh
# Makes the benchmark's own Python environment in .garim/bench/venv, or leaves it alone when it is
# up to date. Needs python3 (3.11 or later) and its pip, which scripts/setup.sh installs; not
# python3-venv, because the environment is made without a pip of its own.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
venv="$here/../.garim/bench/venv"
want="$(python3 --version) $(sha256sum <"$here/requirements.txt")"

python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "bench: $(python3 --version) is too old; the benchmark needs Python 3.11 or later" >&2
    exit 1
}
if [ "$(cat "$venv/installed" 2>/dev/null)" = "$want" ]; then
    exit 0
fi
echo "bench: installing Python packages into .garim/bench/venv"
rm -rf "$venv"
python3 -m venv --without-pip "$venv"
# Every package and its hash is in the list, so pip has nothing to resolve.
python3 -m pip --python "$venv/bin/python" install --quiet --disable-pip-version-check \
    --no-deps --require-hashes --only-binary=:all: -r "$here/requirements.txt"
echo "$want" >"$venv/installed"
