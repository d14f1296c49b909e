#!/bin/sh
# Asks a running server all that its OpenAPI document allows, and much that it does not: it must answer as the document
# says, and must not fail. Needs target/release/garim; installs schemathesis into .garim/api/venv. Arguments are passed on.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd)
venv=$root/.garim/api/venv
want="$venv $(python3 --version) $(sha256sum <"$root/scripts/check-api.txt")"

if [ "$(cat "$venv/installed" 2>/dev/null)" != "$want" ]; then
    echo "check-api: installing Python packages into .garim/api/venv"
    rm -rf "$venv"
    python3 -m venv --without-pip "$venv"
    # Every package and its hash is in the list, so pip has nothing to resolve.
    python3 -m pip --python "$venv/bin/python" install --quiet --disable-pip-version-check \
        --no-deps --require-hashes --only-binary=:all: -r "$root/scripts/check-api.txt"
    echo "$want" >"$venv/installed"
fi
cd "$root"
# shellcheck disable=SC2016 # expanded inside, where the server is
export SCHEMATHESIS_HOOKS=check_api PYTHONPATH="$root/scripts" PYTHONDONTWRITEBYTECODE=1
exec scripts/with-server.sh sh -c 'exec "$0" --config-file scripts/check-api.toml run --exclude-path /v1/events/stream --header "Authorization: Bearer $GARIM_KEY" \
    --seed 1 --generation-deterministic --max-examples "${EXAMPLES:-30}" \
    --continue-on-failure --request-timeout 20 --no-color --output-sanitize true "$@" "$GARIM_URL/openapi.json"' \
    "$venv/bin/schemathesis" "$@"
