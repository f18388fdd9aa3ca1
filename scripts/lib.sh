# Shared by the scripts beside it (sourced, never run): where the checkout is, which PATH holds the
# tools, and how a script prints and fails. It has no effect besides setting variables and PATH.
# shellcheck shell=bash

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd -P)
tools_dir=$root/target/tools
script_name=$(basename "$0")

# The tools that scripts/tools unpacked come before the system's, so that every run uses the same ones.
PATH=$tools_dir/bin:$PATH
cargo_bin=${CARGO_HOME:-${HOME:-/root}/.cargo}/bin
[ ! -d "$cargo_bin" ] || PATH=$PATH:$cargo_bin
export PATH

say() { printf '%s\n' "$*"; }
note() { printf '%s: %s\n' "$script_name" "$*" >&2; }
die() {
    printf '%s: error: %s\n' "$script_name" "$*" >&2
    exit 1
}

has() { command -v "$1" >/dev/null 2>&1; }

# Prints the comment at the head of the calling script: its help.
print_help() { sed -n '2,/^$/ { s/^# \{0,1\}//; p; }' "$0"; }

# Fails unless an option got its value: need_value --dir "$#".
need_value() { [ "$2" -ge 2 ] || die "$1 needs a value (see --help)"; }

# Repeats a command five times a second until it succeeds or the given seconds have passed.
wait_until() {
    local deadline=$((SECONDS + $1))
    shift
    until "$@"; do
        [ "$SECONDS" -lt "$deadline" ] || return 1
        sleep 0.2
    done
}
