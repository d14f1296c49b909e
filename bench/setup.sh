#!/bin/sh
# Makes the benchmark's own Python environment in .garim/bench/venv, or leaves it alone when it is
# up to date. Needs python3 (3.11 or later) and its pip, which scripts/setup.sh installs; not
# python3-venv, because the environment is made without a pip of its own. `setup.sh live` also installs
# what only the benchmark of live channels needs: a browser and npm, and nginx as files only, in .garim/bench/nginx,
# because its package would start a server.
set -eu

here=$(cd "$(dirname "$0")" && pwd)
venv="$here/../.garim/bench/venv"
want="$(python3 --version) $(sha256sum <"$here/requirements.txt")"

python3 -c 'import sys; sys.exit(sys.version_info < (3, 11))' || {
    echo "bench: $(python3 --version) is too old; the benchmark needs Python 3.11 or later" >&2
    exit 1
}
if [ "${1:-}" = live ]; then
    missing=
    command -v chromium >/dev/null || missing="$missing chromium"
    command -v npm >/dev/null || missing="$missing nodejs npm"
    if [ -n "$missing" ]; then
        echo "bench: installing$missing"
        sudo=; [ "$(id -u)" = 0 ] || sudo=sudo
        # shellcheck disable=SC2086 # words are wanted
        $sudo apt-get install -y -qq --no-install-recommends $missing >/dev/null
    fi
    nginx="$here/../.garim/bench/nginx"
    if [ ! -e "$nginx/usr/lib/nginx/modules/ngx_rtmp_module.so" ]; then
        echo 'bench: unpacking nginx into .garim/bench/nginx'
        rm -rf "$nginx"
        mkdir -p "$nginx"
        (cd "$nginx" && apt-get download -qq nginx libnginx-mod-rtmp && for deb in *.deb; do dpkg -x "$deb" .; done)
    fi
fi
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
