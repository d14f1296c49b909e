#!/bin/sh
# Tests the clients against a running server. Needs target/release/garim, its models, the footage, and npm; the Java
# example is left out where there is no javac.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
export GARIM_TEST_VIDEO="$work/clip.mp4"
ffmpeg -v error -i "$root/.garim/fixtures/pyfeat/single_face.mp4" -t 0.4 -vf scale=320:-2 -an -c:v libx264 \
    -preset veryfast "$GARIM_TEST_VIDEO"

cd "$root/clients/typescript"
if ! cmp -s package-lock.json node_modules/.installed; then
    npm ci --silent --no-audit --no-fund
    cp package-lock.json node_modules/.installed
fi
cp src/api.ts "$work/api.ts"
npm run --silent generate >"$work/generate" 2>&1 || { cat "$work/generate" >&2; exit 1; }
cmp "$work/api.ts" src/api.ts || {
    echo 'check-clients: src/api.ts was not up to date; it is now: commit it' >&2
    exit 1
}
npm test --silent

if command -v javac >/dev/null; then
    javac -Xlint:all,-serial -Werror --release 17 -d "$work/classes" "$root"/clients/java/*.java
    "$root/scripts/with-server.sh" java -cp "$work/classes" Check
else
    echo 'check-clients: no javac, so the Java example is not tested'
fi
