#!/usr/bin/env bash
# Called by make: sees to it that the tools are there, or says in one line what is missing and what to do.
#   setup.sh python VENV   a Python >= 3.11 and a virtual environment in VENV
#   setup.sh rust          cargo and rustc new enough, and a linker
#   setup.sh lint          rustfmt and clippy
#   setup.sh node          node and npm, with which tests run the JavaScript SDK
#   setup.sh network       ip and nft, with which tests make networks of their own; they are skipped without
set -euo pipefail

readonly PYTHON_CHECK='import sys; sys.exit(sys.version_info < (3, 11))'
# The same number stands in Cargo.toml as rust-version.
readonly RUST_MINOR=88
# The same number stands in tests/sdk/javascript/package.json; Debian 12 has it.
readonly NODE_MAJOR=18

fail() {
    printf 'aicn: %s\n' "$1" >&2
    exit 1
}

# Installs Debian packages where that needs no question asked; otherwise fails with what to do.
debian() {
    local why=$1
    shift
    if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        printf '==> Installing %s (%s)\n' "$*" "$why"
        export DEBIAN_FRONTEND=noninteractive
        { apt-get update -qq && apt-get install -qq --yes --no-install-recommends "$@" >/dev/null; } \
            || fail "$why, and apt-get could not install $*: install it by hand, then run make again"
    else
        fail "$why: install it (Debian and Ubuntu: sudo apt-get install $*), then run make again"
    fi
}

find_python() {
    local name
    for name in "${PYTHON:-python3}" python3.14 python3.13 python3.12 python3.11 python; do
        if command -v "$name" >/dev/null && "$name" -c "$PYTHON_CHECK" 2>/dev/null; then
            printf '%s' "$name"
            return
        fi
    done
    if command -v "${PYTHON:-python3}" >/dev/null; then
        fail "$("${PYTHON:-python3}" --version 2>&1 || true) is too old: install Python 3.11 or newer and run make again, or name it: make PYTHON=/path/to/python3.11"
    fi
    fail 'python3 is missing: install Python 3.11 or newer, then run make again'
}

setup_python() {
    local venv=$1 python
    if [ -x "$venv/bin/python" ] && "$venv/bin/python" -c "$PYTHON_CHECK" 2>/dev/null \
        && "$venv/bin/python" -m pip --version >/dev/null 2>&1; then
        return
    fi
    python=$(find_python)
    printf '==> Creating %s with %s\n' "$venv" "$("$python" --version)"
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        debian 'this Python has no venv module' python3-venv
    fi
    "$python" -m venv --clear "$venv" || fail "$python -m venv $venv failed: see the lines above"
}

setup_rust() {
    command -v cargo >/dev/null && command -v rustc >/dev/null \
        || fail "cargo is missing: install Rust 1.$RUST_MINOR or newer with rustup (rustup.rs), then run make again"
    local version minor
    version=$(rustc --version) || fail 'rustc does not run: reinstall Rust with rustup (rustup.rs), then run make again'
    minor=$(printf '%s' "$version" | sed -E 's/^rustc 1\.([0-9]+).*/\1/')
    case $minor in
        '' | *[!0-9]*) ;; # a spelling we do not know: let cargo judge
        *) [ "$minor" -ge "$RUST_MINOR" ] \
            || fail "$version is too old: Rust 1.$RUST_MINOR or newer is needed, run 'rustup update stable', then make again" ;;
    esac
    if ! command -v cc >/dev/null; then
        debian 'cc, the linker that Rust calls, is missing' gcc libc6-dev
    fi
}

setup_lint() {
    local part
    for part in fmt clippy; do
        cargo "$part" --version >/dev/null 2>&1 \
            || fail "cargo $part is missing: run 'rustup component add rustfmt clippy', then make again"
    done
}

setup_node() {
    if ! command -v node >/dev/null || ! command -v npm >/dev/null; then
        debian 'tests ask a node with the JavaScript SDK, and node or npm is missing' nodejs npm
    fi
    local major
    major=$(node --version | sed -E 's/^v([0-9]+).*/\1/')
    [ "$major" -ge "$NODE_MAJOR" ] \
        || fail "$(node --version) of node is too old: install Node.js $NODE_MAJOR or newer, then run make again"
}

setup_network() {
    if [ "$(uname)" = Linux ] && [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
        if ! command -v ip >/dev/null || ! command -v nft >/dev/null; then
            debian 'the tests of NAT make networks of their own' iproute2 nftables
        fi
    fi
}

case ${1:-} in
    python) setup_python "$2" ;;
    rust) setup_rust ;;
    lint) setup_lint ;;
    node) setup_node ;;
    network) setup_network ;;
    *) fail 'usage: setup.sh python VENV | rust | lint | node | network' ;;
esac
