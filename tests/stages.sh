#!/usr/bin/env bash
# Runs stages of `make test` by name, in the given order, and tells how long each took.
# tests/setup.sh calls it: it brings the tools and the environment.
set -euo pipefail

: "${ANSIBLE_COLLECTIONS_PATH:?use make, or tests/setup.sh test $0}" "${LIVEPATCH_CACHE:?}"
collection=$ANSIBLE_COLLECTIONS_PATH/ansible_collections/orangepi/livepatch

lint() {
    local scripts
    ruff check --output-format concise
    # ansible-test starts at Python 3.8, boards at 3.7: this finds what 3.7 lacks, syntax and library.
    # livepatch_* need pyelftools and so run on the controller only.
    vermin --target=3.7- --violations --no-tips --quiet \
        --exclude-regex '/module_utils/livepatch_[a-z]*\.py$' plugins/modules plugins/module_utils
    # mypy learns the names of the modules from where it stands.
    (cd "$ANSIBLE_COLLECTIONS_PATH" &&
        mypy --config-file "$collection/pyproject.toml" --cache-dir "$LIVEPATCH_CACHE/mypy" \
            --package ansible_collections.orangepi.livepatch.plugins.module_utils)
    (cd "$collection" && ansible-lint)
    antsibull-changelog lint
    mapfile -t scripts < <(git grep --untracked -lE '^#!.*\b(ba|da)?sh\b' -- .ci tests)
    shellcheck "${scripts[@]}"
}

unit() {
    PYTHONPATH=$ANSIBLE_COLLECTIONS_PATH pytest
}

sanity() {
    tests/sanity.sh
}

molecule() {
    # Molecule doesn't shut boards down after Ctrl-C; the lab does, whatever becomes of Molecule.
    # shellcheck disable=SC2016
    (cd "$collection" &&
        python3 -m tests.lab run --boards orangepi5-1,orangepi5b-1,orangepi5plus-1,orangepi5-stock,orangepi5plus-once -- \
            sh -c 'MOLECULE_EPHEMERAL_DIRECTORY=$LAB_DIR/molecule exec molecule test --all')
}

agreement() {
    PYTHONPATH=$ANSIBLE_COLLECTIONS_PATH \
        python3 -m tests.lab run --boards orangepi5-1 -- python3 -m tests.agreement --sequences 100
}

benchmark() {
    python3 -m tests.lab run --boards orangepi5-1 -- python3 -m tests.benchmarks
}

for stage; do
    [[ $(type -t "$stage") == function ]] || { echo "error: no stage is named $stage" >&2; exit 1; }
done

for stage; do
    printf '\n==> %s\n' "$stage"
    start=$SECONDS
    "$stage"
    printf '==> %s: ok, %d s\n' "$stage" $((SECONDS - start))
done
