#!/usr/bin/env bash
# Runs stages of `make test` by name, in the given order, and tells how long each took.
# tests/setup.sh calls it: it brings the tools and the environment.
set -euo pipefail

: "${ANSIBLE_COLLECTIONS_PATH:?use make, or tests/setup.sh test $0}" "${LIVEPATCH_CACHE:?}"
collection=$ANSIBLE_COLLECTIONS_PATH/ansible_collections/orangepi/livepatch

# What the boards of molecule and agreement run: an architecture, or one and a suite, as of tests.lab.
if [[ ${LAB_ARCH-}${LAB_SUITE-} ]]; then
    kernels=("${LAB_ARCH:-amd64}${LAB_SUITE:+/$LAB_SUITE}")
else
    read -ra kernels <<<"${LAB_KERNELS:-amd64 arm64}"
fi

# on_every_kernel BOARDS COMMAND [ARGUMENT...]: on two at a time, since one alone leaves half of a processor idle.
on_every_kernel() {
    local boards=$1 kernel failed=()
    shift
    # Bash has what runs in the background ignore Ctrl-C.
    trap 'kill "${!running[@]}" 2>/dev/null; wait; exit 130' INT TERM
    local -A running=()
    for kernel in "${kernels[@]}"; do
        ((${#running[@]} < 2)) || one_less
        start_on "$kernel" "$boards" "$@" &
        running[$!]=$kernel
    done
    while ((${#running[@]})); do one_less; done
    trap - INT TERM
    if ((${#failed[@]})); then
        printf 'error: failed on %s\n' "${failed[*]}" >&2
        return 1
    fi
}

# Waits for one of those that are running; `running` and `failed` are on_every_kernel's.
one_less() {
    local pid status=0
    wait -n -p pid "${!running[@]}" || status=$?
    ((status == 0)) || failed+=("${running[$pid]}")
    unset "running[$pid]"
}

start_on() {
    local kernel=$1 boards=$2 arch suite
    shift 2
    IFS=/ read -r arch suite <<<"$kernel"
    exec python3 -m tests.lab run --arch "$arch" ${suite:+--suite "$suite"} --boards "$boards" -- "$@" \
        > >(sed -u "s|^|$kernel: |") 2>&1
}

lint() {
    local scripts
    ruff check --output-format concise
    # ansible-test starts at Python 3.8, boards at 3.7: this finds what 3.7 lacks, syntax and library.
    vermin --target=3.7- --violations --no-tips --quiet plugins/modules plugins/module_utils
    # mypy learns the names of the modules from where it stands.
    (cd "$ANSIBLE_COLLECTIONS_PATH" &&
        mypy --config-file "$collection/pyproject.toml" --cache-dir "$LIVEPATCH_CACHE/mypy" \
            --package ansible_collections.orangepi.livepatch.plugins)
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
        on_every_kernel orangepi5-1,orangepi5b-1,orangepi5plus-1,orangepi5-stock,orangepi5b-debian,orangepi5plus-once \
            sh -c 'MOLECULE_EPHEMERAL_DIRECTORY=$LAB_DIR/molecule exec molecule test --all')
}

agreement() {
    # shellcheck disable=SC2016
    PYTHONPATH=$ANSIBLE_COLLECTIONS_PATH \
        on_every_kernel orangepi5-1 \
            sh -c 'python3 -m tests.agreement.files && exec python3 -m tests.agreement --sequences "$0"' "${SEQUENCES:-300}"
}

layout() {
    # shellcheck disable=SC2016
    (cd "$collection" &&
        on_every_kernel orangepi5-1 \
            sh -c 'MOLECULE_EPHEMERAL_DIRECTORY=$LAB_DIR/molecule exec molecule test -s layout')
}

fuzz() {
    local target
    for target in tests/fuzz/targets/[a-z]*.py; do
        target=${target##*/}
        PYTHONPATH=$ANSIBLE_COLLECTIONS_PATH python3 -m tests.fuzz "${target%.py}" --runs "${RUNS:-100000}" --seed "${SEED:-$RANDOM}"
    done
}

benchmark() {
    PYTHONPATH=$ANSIBLE_COLLECTIONS_PATH python3 -m tests.lab run --boards orangepi5-1 -- python3 -m tests.benchmarks
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
