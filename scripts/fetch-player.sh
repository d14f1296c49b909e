#!/bin/sh
# Fetches hls.js, which the page for viewers plays live streams with, into .garim/web. Through npm, which knows the
# mirror, proxy and certificates of this machine; and only what is exactly this. Called by scripts/setup.sh.
set -eu
# Also in crates/garim/build.rs.
version=1.7.4
script=482cccb3a224554f64d8c2cf0d335dba4a3819bdb726afbfddfe15de4c277d82
licence=ca8773cf798c7ed997d4dd7c8e23c348699f8d5b7462636694cc14de6cda12db

cd "$(dirname "$0")/.."
to=.garim/web
name=$to/hls-$version.light.min.js

good() {
    printf '%s  %s\n%s  %s\n' $script "$1" $licence "$2" | sha256sum --check --status 2>/dev/null
}

if good "$name" "$to/hls-$version.LICENSE" && [ -f "$name.gz" ]; then
    exit 0
fi
echo "setup: fetching hls.js $version"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
(cd "$work" && npm pack --silent "hls.js@$version" >/dev/null && tar xzf ./*.tgz)
good "$work/package/dist/hls.light.min.js" "$work/package/LICENSE" || {
    echo "setup: what npm gives as hls.js $version is something else: nothing of it is used" >&2
    exit 1
}
mkdir -p $to
cp "$work/package/LICENSE" "$to/hls-$version.LICENSE"
gzip -9nc "$work/package/dist/hls.light.min.js" >"$work/gz"
mv "$work/gz" "$name.gz"
mv "$work/package/dist/hls.light.min.js" "$name"
