#!/usr/bin/env bash
# Runs ansible-test sanity, without containers and on every Python that this machine has.
# A test that ansible-test skips for want of a tool fails the run: skipped is not passed.
set -euo pipefail

: "${LIVEPATCH_CACHE:?use make sanity}"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

# ansible-test insists on a real directory below ansible_collections; a link won't do.
collection=$work/ansible_collections/orangepi/livepatch
mkdir -p "$collection"
git ls-files -z --cached --others --exclude-standard |
    while IFS= read -r -d '' path; do
        if [[ -e $path || -L $path ]]; then printf '%s\0' "$path"; fi
    done |
    tar --create --null --files-from=- | tar --extract --directory="$collection"

# ansible-test keeps its virtual environments at home; in the cache they go when the cache goes.
home=$LIVEPATCH_CACHE/ansible-test
mkdir -p "$home/.ansible/test/cache"
ln -sfn "${XDG_CONFIG_HOME:-$HOME/.config}" "$home/.config"

# It would download a script that brings pip into them. Python carries a pip of its own.
pip_version=$(python3 -c '
from ansible_test._internal.host_configs import NativePythonConfig
from ansible_test._internal.python_requirements import get_venv_packages
print(get_venv_packages(NativePythonConfig(version="3.11"))["pip"])')
cat >"$home/.ansible/test/cache/get_pip_${pip_version//./_}.py" <<'PYTHON'
import ensurepip

ensurepip.bootstrap()
PYTHON

# A name such as python3.9 can be there and yet not run, with a version manager, so only those that ran
# are named, and found first. Pythons that pyenv has but did not select would stay hidden.
mkdir "$work/bin"
if command -v pyenv >/dev/null; then
    PYENV_VERSION=$(pyenv versions --bare --skip-aliases | paste -sd:)
    export PYENV_VERSION
fi
targets=() missing=()
for version in $(python3 -c '
from ansible_test._internal.constants import SUPPORTED_PYTHON_VERSIONS
print(*SUPPORTED_PYTHON_VERSIONS)'); do
    if python=$("python$version" -c 'import ensurepip, sys, venv; print(sys.executable)' 2>/dev/null); then
        printf '#!/bin/sh\nexec "%s" "$@"\n' "$python" >"$work/bin/python$version"
        chmod +x "$work/bin/python$version"
        targets+=(--target-python "$version")
    else
        missing+=("$version")
    fi
done
unset PYENV_VERSION
((${#missing[@]} == 0)) || echo "Not tested, as this machine lacks them: Python ${missing[*]}"

cd "$collection"
HOME=$home PATH=$work/bin:$PATH \
    ansible-test sanity "${targets[@]}" --color no 2>&1 | tee "$work/log"
if grep -E 'Skipping sanity test "|Required program "' "$work/log"; then
    echo "error: ansible-test skipped what is named above" >&2
    exit 1
fi
