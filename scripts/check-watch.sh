#!/bin/sh
# Watches a live stream on its page in headless Chromium: scripts/check-watch.py, which a test calls that publishes.
# Screenshots are in $GARIM_SCREENSHOTS, if that is set.
set -eu
if ! command -v chromium >/dev/null; then
    echo 'check-watch: installing chromium' >&2
    sudo=; [ "$(id -u)" = 0 ] || sudo=sudo
    $sudo apt-get install -y -q chromium >/dev/null
fi
cargo test --release --locked -p garim --bin garim a_page_plays_what_is_published -- --ignored --nocapture
