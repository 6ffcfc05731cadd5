# -- words and failures ------------------------------------------------------------------------------------------------

say() { printf '%s\n' "$*"; }

fail() {
    printf 'install: %s\n' "$*" >&2
    exit 1
}

usage_error() {
    printf 'install: %s; --help lists the options\n' "$*" >&2
    exit 2
}

# step TEXT COMMAND…: one change of this machine, said before it is made; with --dry-run it is only said.
step() {
    step_text=$1
    shift
    if [ "$dry_run" = 1 ]; then
        say "  would $step_text"
        return 0
    fi
    say "  $step_text"
    "$@" || fail "cannot $step_text"
}

# matches TEXT CLASS LENGTH: whether TEXT has 1 to LENGTH characters, all of the class.
matches() {
    [ -n "$1" ] && [ ${#1} -le "$3" ] || return 1
    [ -z "$(printf '%s' "$1" | tr -d "$2")" ]
}

has() { command -v "$1" >/dev/null 2>&1; }

megabytes() { say "$((($1 + 1048575) / 1048576)) MB"; }

# The end of every run: no file of the download stays, and a first installation that failed is undone.
clean() {
    clean_code=$?
    trap - EXIT
    [ "$clean_code" = 0 ] || [ "$undo" = 0 ] || undo_first
    [ -z "$work" ] || rm -rf "$work"
    [ -z "$lock" ] || rm -rf "$lock"
    exit "$clean_code"
}

# One installation at a time: a person's and that of `edge-agent upgrade` would unpack into one folder.
alone() {
    [ "$dry_run" = 0 ] || return 0
    mkdir -p "${run%/*}"
    if ! mkdir "$run.installing" 2>/dev/null; then
        other=$(cat "$run.installing/pid" 2>/dev/null)
        if [ -n "$other" ] && kill -0 "$other" 2>/dev/null; then
            fail "another installation runs here (process $other): wait until it has ended"
        fi # it was cut off
    fi
    lock=$run.installing
    printf '%s\n' $$ >"$lock/pid" || fail "cannot write $lock/pid"
}

# As another user: the same script once more through sudo or doas. The token goes in a file that only this user can read.
run_as_root() {
    for tool in sudo doas ''; do has "$tool" && break; done
    [ -n "$tool" ] || fail 'this needs root, and there is neither sudo nor doas: run it as root'
    work=$(mktemp -d) || fail 'cannot make a folder for temporary files'
    if grep -q '^# Installs, upgrades and removes edge-agent' "$0" 2>/dev/null; then
        cp "$0" "$work/install.sh" || fail "cannot read $0"
    else # the script came through a pipe: it is fetched again from where its packages are
        place_of_release
        get install.sh "$work/install.sh"
    fi
    if [ -n "$given_token" ]; then
        (umask 077 && printf '%s\n' "$given_token" >"$work/token") || fail 'cannot write the token to a private file'
        set -- "$@" --token-file "$work/token"
    fi
    say "this needs root: $tool asks for your password where it must"
    "$tool" sh "$work/install.sh" "$@"
}
