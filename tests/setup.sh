#!/usr/bin/env bash
# Sets up a controller for one of two uses, "demo" or "test", and runs a command in it:
#   tests/setup.sh demo|test COMMAND [ARGUMENT...]
# A second run finds everything in place: it takes no time and needs no root and no network.
set -euo pipefail

repo=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
cache=${XDG_CACHE_HOME:-$HOME/.cache}/orangepi.livepatch

say() { printf '==> %s\n' "$*" >&2; }
fail() { printf 'error: %s\n' "$*" >&2; exit 1; }

# The entries of lists that hold one a line, with comments.
entries() { sed -e 's/#.*//' -e 's/[[:space:]]//g' -e '/^$/d' "$@"; }

install_packages() {
    local package missing=() root=()
    if ! command -v apt-get dpkg-query >/dev/null; then
        say "No apt-get here: taking for granted that the packages of tests/**/apt-packages*.txt are installed."
        return
    fi
    while read -r package; do
        [[ $(dpkg-query -W -f '${db:Status-Status}' "$package" 2>/dev/null) == installed ]] ||
            missing+=("$package")
    done < <(entries "$@")
    ((${#missing[@]})) || return 0

    if ((EUID != 0)); then
        command -v sudo >/dev/null ||
            fail "these packages are missing and there is no sudo to install them with; as root: apt-get install ${missing[*]}"
        root=(sudo)
    fi
    say "Installing ${#missing[@]} missing Debian packages${root:+ (with sudo)}: ${missing[*]}"
    "${root[@]}" apt-get -qq update
    "${root[@]}" env DEBIAN_FRONTEND=noninteractive \
        apt-get -qq install --yes --no-install-recommends "${missing[@]}" </dev/null >&2
}

find_python() {
    local python
    for python in python3 /usr/bin/python3 python3.13 python3.12 python3.11; do
        if "$python" -c 'import ensurepip, sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
            "$python" -c 'import sys; print(sys.executable)'
            return
        fi
    done
    fail "the controller needs Python 3.11 or later with its venv module, and this machine has" \
        "$(python3 --version 2>/dev/null || echo no Python 3); Debian 12 and Ubuntu 24.04 are the first releases that will do"
}

# A directory's name is its recipe, so a changed recipe never meets an old directory. A virtual environment
# can't be moved into place when it is ready, so a lock and a mark at the end make it atomic.
make_venv() {
    local requirements=$1 python key
    python=$(find_python)
    key=$({ echo "$python"; "$python" --version; entries "$repo"/tests/requirements*.txt; echo "$requirements"; } | sha256sum)
    venv=$cache/venv-${key:0:12}
    [[ -e $venv/complete && -x $venv/bin/python ]] && return
    (
        flock 9
        [[ -e $venv/complete && -x $venv/bin/python ]] && exit
        say "Installing $requirements into $venv"
        rm -rf "$venv"
        "$python" -m venv "$venv"
        "$venv/bin/pip" install --quiet --disable-pip-version-check --requirement "$repo/tests/$requirements"
        touch "$venv/complete"
    ) 9>"$cache/venv.lock"
}

# Ansible finds a collection by its path, which a clone need not have. Two clones must not meet either.
link_collection() {
    local key
    key=$(sha256sum <<<"$repo")
    collections=$cache/collections-${key:0:12}
    mkdir -p "$collections/ansible_collections/orangepi"
    ln -sfn "$repo" "$collections/ansible_collections/orangepi/livepatch"
}

clean() {
    say "Removing $cache"
    rm -rf "$cache"
    cd "$repo"
    rm -rf .ansible .hypothesis .mypy_cache .pytest_cache .ruff_cache tests/output
    find . -name __pycache__ -type d -prune -exec rm -rf {} +
}

use=${1-}
shift || true
case $use in
    demo)
        requirements="requirements-demo.txt"
        packages=(tests/apt-packages-demo.txt tests/lab/apt-packages.txt)
        ;;
    test)
        requirements="requirements.txt"
        packages=(tests/apt-packages-demo.txt tests/lab/apt-packages.txt tests/apt-packages.txt)
        ;;
    clean) clean; exit ;;
    *) fail "usage: $0 demo|test COMMAND [ARGUMENT...]" ;;
esac

if [[ $use == test || ${LAB_ARCH-} == arm64 ]]; then
    packages+=(tests/lab/apt-packages-arm64.txt)
fi

cd "$repo"
mkdir -p "$cache"
install_packages "${packages[@]}"
make_venv "$requirements"
link_collection

export ANSIBLE_COLLECTIONS_PATH=$collections
export LIVEPATCH_CACHE=$cache
export PATH=$venv/bin:$PATH
export VIRTUAL_ENV=$venv
exec "$@"
