#!/bin/sh
# Runs a command against a server of its own: scripts/with-server.sh COMMAND...
#
# $GARIM_SETTINGS are further sections of its settings. The command finds the address in $GARIM_URL, a key with every scope in $GARIM_KEY, and the server's data folder in
# $GARIM_DATA. The server runs on a free port and a temporary folder, and on a database that is new. Fails if the
# command does, if the server is not ready afterwards, or if its log has a panic or a request that it failed.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
garim=${GARIM:-$root/${CARGO_TARGET_DIR:-target}/release/garim}
case ${CARGO_TARGET_DIR:-} in /*) garim=${GARIM:-$CARGO_TARGET_DIR/release/garim} ;; esac
work=$(mktemp -d)
server=
cleanup() {
    if [ -n "$server" ]; then
        kill "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    fi
    rm -rf "$work"
}
trap cleanup EXIT
trap 'exit 130' INT TERM

fail() {
    echo "with-server: $*" >&2
    tail -n 40 "$work/log" >&2
    exit 1
}

# Whoever tests asks often.
cat >"$work/garim.toml" <<EOF
listen = "127.0.0.1:0"
data = "$work/data"
[limits]
requests_per_second = 100000
burst = 100000
concurrent = 10000
strangers_per_minute = 100000
${GARIM_SETTINGS:-}
EOF
env -u GARIM_DATABASE_URL -u GARIM_CONFIG "$garim" serve --config "$work/garim.toml" >"$work/first" 2>"$work/log" &
server=$!
GARIM_URL=
while [ -z "$GARIM_URL" ]; do
    kill -0 "$server" 2>/dev/null || fail "the server did not start"
    sleep 0.1
    GARIM_URL=$(sed -n 's/.*listening on \(http[^ ]*\).*/\1/p' "$work/log")
done
GARIM_DATA=$work/data
GARIM_KEY=$("$garim" key create --config "$work/garim.toml" --user tester --scope read --scope operate \
    --scope people --scope originals --scope admin 2>"$work/key" || { cat "$work/key" >&2; exit 1; })
export GARIM_URL GARIM_KEY GARIM_DATA

status=0
"$@" || status=$?
[ -z "${GARIM_LOG:-}" ] || cp "$work/log" "$GARIM_LOG"
kill -0 "$server" 2>/dev/null || fail "the server is gone"
python3 - "$GARIM_URL/readyz" <<'EOF' || fail "the server is not ready any more"
import sys, urllib.request
urllib.request.urlopen(sys.argv[1], timeout=10)
EOF
if grep -E 'panicked|request failed' "$work/log" >&2; then
    fail "the server failed a request"
fi
exit "$status"
