#!/bin/sh
# Checks docs/deploy/kubernetes.yaml against the schemas of Kubernetes, strictly.
set -eu
cd "$(dirname "$0")/.."
venv=.garim/manifest/venv
want=kubernetes-validate==1.37.0
if [ "$(cat "$venv/installed" 2>/dev/null)" != "$want" ]; then
    rm -rf "$venv"
    python3 -m venv --without-pip "$venv"
    python3 -m pip --python "$venv/bin/python" install --quiet --disable-pip-version-check --only-binary=:all: "$want"
    echo "$want" >"$venv/installed"
fi
"$venv/bin/kubernetes-validate" --strict -k 1.31 docs/deploy/kubernetes.yaml
