# -- joining -----------------------------------------------------------------------------------------------------------

has_identity() { [ -e "$state/identity/member.pem" ]; }

# From the environment, from a file, or from the person at the terminal: stdin may be this script.
choose_token() {
    [ "$program" = edge-agent ] && [ "$back" = 0 ] || return 0
    token=$given_token
    if [ -n "$token_file" ]; then
        token=$(head -c 8192 "$token_file" 2>/dev/null | tr -d ' \t\r\n') || fail "cannot read $token_file"
        [ -n "$token" ] || fail "there is no token in $token_file"
    fi
    if has_identity; then
        [ -z "$token" ] || say "this node is in a mesh already: the token is not used"
        token=''
        return
    fi
    if [ $new = 1 ]; then
        [ -z "$token" ] || fail '--new makes a mesh, and a token joins one: give one of them'
        token=new
        return
    fi
    [ -n "$token" ] || [ "$dry_run" = 1 ] || ask_token
    [ -n "$token" ] || return 0 # --dry-run
    case $token in
        edge1.*) matches "$token" 'A-Za-z0-9._-' 8192 || fail 'the token is damaged: copy the whole line again' ;;
        *) fail 'that is no token: edge-agent token create, on an operator, prints one' ;;
    esac
}

ask_token() {
    (: </dev/tty) 2>/dev/null ||
        fail 'there is no token: set EDGE_AGENT_TOKEN or --token-file, or give --new on the first machine'
    stty -echo </dev/tty 2>/dev/null # before the question: what is typed at once must not show either
    printf 'Token (edge-agent token create, on an operator, prints it): ' >/dev/tty
    IFS= read -r token </dev/tty
    stty echo </dev/tty 2>/dev/null
    printf '\n' >/dev/tty
    token=$(printf '%s' "$token" | tr -d ' \t\r')
    [ -n "$token" ] || fail 'no token was given'
}

ask_status() { "$base/current/$program" status --json >"$work/status" 2>/dev/null; }

# Whether the agent runs, and, where it joins or had company before, whether it sees another node.
is_back() {
    if [ "$program" = edge-sink ]; then
        [ -s "$state/address" ] # the sink writes it when it is ready
        return
    fi
    ask_status && has_identity || return 1
    grep -q "\"version\": *\"$new_version\"" "$work/status" || return 1
    [ "$company" = 0 ] || [ "$(grep -Eo '"linked": *true' "$work/status" | wc -l)" -gt 1 ]
}

wait_for_it() {
    waited=0
    while [ "$waited" -lt "$wait_s" ]; do
        is_back && return
        sleep 1
        waited=$((waited + 1))
    done
    is_back
}

version_of() { "$base/versions/$1/$program" --version 2>/dev/null | sed 's/.* //' | head -n 1; }

start_and_wait() {
    if [ "$dry_run" = 1 ]; then
        say "  would start $program and wait until it ${ready_words:-is in the mesh}"
        say 'nothing was changed'
        return
    fi
    company=0
    if [ -n "$installed" ]; then
        ask_status && [ "$(grep -Eo '"linked": *true' "$work/status" | wc -l)" -gt 1 ] && company=1
    elif [ "$token" != new ] && [ "$back" = 0 ]; then
        company=1
    fi
    step "make version $folder the current one" switch_to "$folder"
    new_version=$(version_of "$folder")
    [ "$back$ram" != 11 ] || return 0 # the runner starts it
    if [ "$program" = edge-sink ]; then
        rm -f "$state/address"
        ready_words='answers'
    fi
    step "start $program" start_service
    say "  wait until it ${ready_words:-is in the mesh}, $wait_s s at most"
    if wait_for_it; then
        undo=0
        use_installer || fail "cannot keep the installer in $etc"
        if [ "$fresh" = 1 ]; then
            forget_old
            accept_release
        fi
        say ''
        if [ "$program" = edge-agent ]; then "$base/current/$program" status; else last_words 12; fi
        say ''
        say "done: $program $VERSION runs${bin:+; $program-uninstall removes it}"
        [ $init != none ] || say "nothing here starts programs after a reboot: run $etc/run from the system's start"
        return
    fi
    say "its last lines:"
    last_words
    if [ -z "$installed" ] || [ "$fresh" = 0 ]; then
        not_there="$program did not come into the mesh within $wait_s s"
        [ "$program" = edge-agent ] || not_there="$program was not ready within $wait_s s"
        if [ "$undo" = 1 ]; then fail "$not_there; the installation is undone"; fi
        fail "$not_there"
    fi
    go_back
}

# The new tree is on the disk before anything starts it.
switch_to() { sync && ln -sfn "$base/versions/$1" "$base/current"; }

# The previous version stays, those before it go.
forget_old() {
    if [ -n "$installed" ] && [ "$installed" != "$folder" ]; then
        ln -sfn "$base/versions/$installed" "$base/previous"
    fi
    for old in "$base/versions"/*; do
        case ${old##*/} in "$folder" | "$installed") ;; *) rm -rf "$old" ;; esac
    done
}

# The signed manifest of this release, for `edge-agent upgrade`: its signature in base64 on a line, then its bytes.
accept_release() {
    if [ "$checked" = 0 ] || [ ! -s "$work/manifest.json.sig" ] || ! has base64 || [ "$program" != edge-agent ]; then return 0; fi
    kept_at=$etc/release
    { base64 <"$work/manifest.json.sig" | tr -d '\n' && printf '\n' && cat "$work/manifest.json"; } >"$work/current" || return 0
    cmp -s "$work/current" "$kept_at/current" && return 0
    [ ! -e "$kept_at/current" ] || keep_whole "$kept_at/current" "$kept_at/previous" || return 0
    keep_whole "$work/current" "$kept_at/current" || return 0
    newest=$(cat "$kept_at/newest" 2>/dev/null)
    if [ -z "$newest" ] || older "$newest" "$VERSION"; then
        printf '%s' "$VERSION" >"$work/newest" && keep_whole "$work/newest" "$kept_at/newest"
    fi
    return 0
}

# keep_whole FILE TO: a power cut leaves the old content or the new.
keep_whole() { cp "$1" "$2.new" && chmod 644 "$2.new" && sync && mv -f "$2.new" "$2"; }

go_back() {
    rm -f "$etc/install.sh.new"
    say "  go back to version $installed"
    switch_to "$installed"
    new_version=$(version_of "$installed")
    start_service
    if wait_for_it; then
        rm -rf "$base/versions/${folder:?}"
        fail "version $VERSION did not come back into the mesh within $wait_s s; version $installed runs again"
    fi
    fail "version $VERSION did not come back into the mesh, and version $installed does not run either: edge-agent doctor"
}

undo_first() {
    undo=0
    say '  undo the installation'
    uninstall_sh | sh -s -- "$program" quiet
}

remove() {
    if [ "$dry_run" = 1 ]; then
        say "  would stop $program and remove it, its configuration and its state"
        return
    fi
    uninstall_sh | sh -s -- "$program"
}
