#!/bin/sh
# Installs what Garim needs from the system, and the player that is built in: only what is missing,
# so a second run needs neither the network nor root. Called by `make setup`; Debian 12 and 13,
# Ubuntu 24.04, x86_64.
set -eu

fail() {
    echo "setup: $*" >&2
    exit 1
}

[ "$(uname -s) $(uname -m)" = "Linux x86_64" ] ||
    fail "this is $(uname -s) $(uname -m); Garim is built and tested on Linux x86_64 only"

command -v cargo >/dev/null 2>&1 ||
    fail "no cargo. Install Rust with rustup (https://rustup.rs), open a new shell, run this again"

# need PACKAGE TEST...: PACKAGE is missing unless TEST succeeds. The tests ask for the thing, not
# for the package, so that a Python, npm or FFmpeg that came another way is left alone.
missing=""
need() {
    package=$1
    shift
    "$@" >/dev/null 2>&1 || missing="$missing $package"
}
has_libclang() {
    [ -n "${LIBCLANG_PATH:-}" ] || ls /usr/lib*/libclang*.so* || ls /usr/lib/llvm-*/lib/libclang*.so*
}

has_postgres() {
    ls /usr/lib/postgresql/*/bin/postgres
}

has_faketime() {
    ls /usr/lib/*/faketime/libfaketimeMT.so.1
}

need build-essential cc --version
need pkg-config pkg-config --version
need clang clang --version
need libclang-dev has_libclang
for library in avcodec avformat avutil swresample swscale; do
    need "lib$library-dev" pkg-config --exists "lib$library"
done
# The tests and the demo make and inspect clips with the command line tool.
need ffmpeg ffmpeg -version
need python3 python3 --version
need python3-pip python3 -m pip --version
need npm npm --version
need git git --version
# Tests start one of their own; the system's is not used.
need postgresql has_postgres
# A test sets a server's clock.
need faketime has_faketime

player=$(dirname "$0")/fetch-player.sh
if [ -z "$missing" ]; then
    echo "setup: system packages are all there"
    exec "$player"
fi

command -v apt-get >/dev/null 2>&1 ||
    fail "missing:$missing (named as on Debian). Install them with this system's package manager"
as_root=""
if [ "$(id -u)" != 0 ]; then
    command -v sudo >/dev/null 2>&1 ||
        fail "missing:$missing. Run as root: apt-get install --no-install-recommends$missing"
    as_root=sudo
fi
echo "setup: installing$missing"
$as_root apt-get update -qq
# shellcheck disable=SC2086 # a list of package names
$as_root env DEBIAN_FRONTEND=noninteractive \
    apt-get install -y -qq --no-install-recommends $missing
exec "$player"
