# -- the system --------------------------------------------------------------------------------------------------------

as_user() {
    if [ "$run_as" = root ]; then
        "$@"
    elif has su; then
        as_command=''
        for word in "$@"; do as_command="$as_command '$word'"; done # words of this script: no quotes in them
        su -s /bin/sh "$run_as" -c "cd / && exec $as_command"
    else
        as_program=$1
        shift
        start-stop-daemon -S -c "$run_as" -x "$as_program" -- "$@"
    fi
}

# The agent runs as its own user, except where only root may read the access point's log.
choose_user() {
    run_as=$program
    case $init in
        procd) run_as=root ;;
        busybox | none)
            for file in /var/log/messages /var/log/syslog; do
                [ ! -e "$file" ] || [ -n "$(find -L "$file" -perm -004 2>/dev/null)" ] || run_as=root
            done
            has su || run_as=root
            ;;
    esac
    [ "$program" = edge-agent ] || run_as=$program
}

make_user() {
    if has useradd; then
        has groupadd && groupadd --system --force "$program"
        useradd --system --gid "$program" --no-create-home --home-dir "$state" --shell /usr/sbin/nologin "$program" || return 1
        [ "$program" = edge-agent ] || return 0
        # Its members may change things; the groups of the system's logs let the agent read them.
        groupadd --system --force edge-operator
        for group in systemd-journal adm; do
            if grep -q "^$group:" /etc/group; then usermod --append --groups $group "$program"; fi
        done
        return 0
    fi
    number=900
    while grep -q "^[^:]*:[^:]*:$number:" /etc/passwd /etc/group 2>/dev/null; do number=$((number + 1)); done
    grep -q "^$program:" /etc/group 2>/dev/null || printf '%s:x:%s:\n' "$program" $number >>/etc/group || return 1
    printf '%s:x:%s:%s::%s:/bin/false\n' "$program" $number "$(awk -F: -v p="$program" '$1 == p {print $3}' /etc/group)" "$state" >>/etc/passwd || return 1
    [ ! -e /etc/shadow ] || printf '%s:*:0:0:99999:7:::\n' "$program" >>/etc/shadow
}

set_up() {
    choose_user
    [ -n "$installed" ] || [ "$back" = 1 ] || [ "$dry_run" = 1 ] || undo=1
    if ! id -u "$program" >/dev/null 2>&1; then
        step "create the user and the group $program" make_user
    fi
    if [ -z "$(find -L "$state" -prune -type d -user "$run_as" 2>/dev/null)" ]; then
        step "make $state, for $run_as only" make_state
    fi
    [ "$back" = 1 ] || set_up_files
    if [ "$fresh" = 1 ]; then
        step "test the new version${selftest_words:-}" test_program_or_say
    fi
    set_up_service
}

make_state() {
    mkdir -p "$etc" "$state" && chmod 755 "$etc" && chmod 700 "$state" && chown -R "$run_as:" "$state/."
}

test_program_or_say() {
    test_program && return
    sed 's/^/    /' "$work/test" | tail -n 12
    rm -rf "$base/versions/$folder"
    return 1
}

set_up_files() {
    if [ "$program" = edge-agent ] && [ ! -e "$etc/config.yaml" ]; then
        step "write $etc/config.yaml" write_config
    elif [ -n "$name$labels" ]; then
        say "  leave $etc/config.yaml as it is: --name and --label are for a first installation"
    fi
    [ "$passing" = 1 ] || step "write $etc/install.conf: where the release came from" write_source
    if [ $ram = 1 ] || [ -n "$kept" ]; then
        [ $back = 1 ] || step "keep the installer in $etc" keep_installer
    fi
    [ "$program" = edge-agent ] || return 0
    if [ ! -e "$etc/release/release.pub" ]; then
        step "pin the release key in $etc/release, which only root can change" pin_key
    elif [ "$dry_run$passing" = 00 ] && [ "$(cat "$etc/release/release.pub")" != "$(release_key)" ]; then
        # With --passing the agent has checked this script by the pinned key; after a change of keys the previous release has the old one.
        fail "this node knows another release key: only a manifest that the old key signed can change it (edge-agent upgrade)"
    fi
    [ $store = 0 ] || [ "$remote" = 1 ] || store_release
    if [ -n "$token" ]; then
        step "write the token to $state/join-token, which the agent deletes when it has joined" write_token
    fi
}

write_config() {
    mkdir -p "$etc" && {
        printf '# Settings of edge-agent; docs/configuration.md has all keys, edge-agent config show those in force.\n'
        [ -z "$name" ] || printf 'name: "%s"\n' "$name"
        # Elsewhere the agent's own choice of a folder may differ from the installer's.
        case $os:$state in linux:/var/lib/edge-agent) ;; *) printf 'state: %s\n' "$state" ;; esac
        [ -z "$volatile" ] || printf 'volatile: %s\n' "$volatile"
        [ -z "$labels" ] || printf 'labels:\n'
        for label in $labels; do printf '  %s: "%s"\n' "${label%%=*}" "${label#*=}"; done
    } >"$etc/config.yaml" && chmod 644 "$etc/config.yaml"
}

write_source() {
    mkdir -p "$etc" && printf 'from=%s\nram=%s\nvariant=%s\nmade=%s\n' "$from${pin:+#$pin}" "$ram" "$variant" "$made" >"$etc/install.conf"
}

# This script as it was checked, for the starts after a power cut. It takes the old one's place when the new version is back.
keep_installer() {
    if [ -z "$list" ] && grep -q '^# Installs, upgrades and removes edge-agent' "$0" 2>/dev/null; then
        cp "$0" "$etc/install.sh.new" || return 1
    else # the script came through a pipe, or another release was asked for
        get install.sh "$etc/install.sh.new"
        [ "$checked" = 0 ] || is_sha256 "$etc/install.sh.new" "$(field installer)" || { rm -f "$etc/install.sh.new" && return 1; }
    fi
    chmod 700 "$etc/install.sh.new" || return 1
    [ -n "$installed" ] || use_installer
}

use_installer() { [ ! -e "$etc/install.sh.new" ] || { sync && mv -f "$etc/install.sh.new" "$etc/install.sh"; }; }

# write_private FILE: stdin in a file that only the service may read. The service's user writes it: a link that it left in its folder
# must not lead root's writing elsewhere.
write_private() { as_user sh -c "umask 077 && cat >\"$1.new\" && mv -f \"$1.new\" \"$1\""; }

write_token() { printf '%s\n' "$token" | write_private "$state/join-token"; }

pin_key() {
    mkdir -p "$etc/release" && release_key >"$etc/release/release.pub" &&
        release_usign_key >"$etc/release/release.usign.pub" && chmod 755 "$etc/release" && chmod 644 "$etc/release"/*
}

# The first machine keeps the whole release, so that it can hand it out. The manifest comes last: it makes the set complete.
store_release() {
    size=$(packages | awk '{sum += $5} END {printf "%.0f\n", sum}')
    for path in "$from"/*.apk; do [ ! -e "$path" ] || size=$((size + $(wc -c <"$path"))); done
    if [ "$(room "$state")" -lt $((size + 64 * 1048576)) ]; then
        say "  leave the release's files in $from: they have $(megabytes "$size"), too much for $state"
        return
    fi
    step "keep the release's files in $state/packages, for the next devices" copy_release
}

copy_release() {
    set --
    for file in $(packages | awk '{print $8}') install.sh release.pub release.usign.pub SHA256SUMS Packages Packages.gz Packages.sig \
        manifest.json.sig manifest.json.usig manifest.json; do
        [ ! -e "$from/$file" ] || set -- "$@" "$file"
    done
    for path in "$from"/*.apk "$from"/packages-*.adb; do # apk's own, which the installer does not use
        [ ! -e "$path" ] || set -- "$@" "${path##*/}"
    done
    # As in write_private, the service's user writes.
    (cd "$from" && tar -chf - "$@") | as_user sh -c "cd \"$state\" && rm -rf packages.new && mkdir packages.new && tar -xof - -C packages.new &&
        chmod 755 packages.new && [ -s packages.new/manifest.json ] && rm -rf packages && mv packages.new packages"
}

# -- service -----------------------------------------------------------------------------------------------------------

set_up_service() {
    writable "$bin" || bin=''
    if [ -n "$bin" ] && [ "$(readlink "$bin/$program")" != "$base/current/$program" ]; then
        step "link $bin/$program to the program" link_program
    fi
    step "write ${bin:-$etc}/$program-uninstall" write_uninstaller "${bin:-$etc}/$program-uninstall"
    case $init in
        systemd) step "write the unit $program.service" write_units ;;
        procd) step "write /etc/init.d/$program" write_procd ;;
        *) step "write $etc/run, which starts the program and starts it again when it ends" write_runner ;;
    esac
    if [ -n "$kept" ] && [ "$dry_run" = 0 ]; then
        step "write /data/on_boot.d/50-$program.sh, which brings it back after an update of the console" write_boot_hook
    fi
}

# Whether files can be made in a folder, which may not exist yet.
writable() {
    writable=$1
    while [ -n "$writable" ] && [ ! -d "$writable" ]; do writable=${writable%/*}; done
    [ -n "$1" ] && [ -w "${writable:-/}" ]
}

link_program() { mkdir -p "$bin" && ln -sfn "$base/current/$program" "$bin/$program"; }

write_uninstaller() { uninstall_sh >"$1" && chmod 755 "$1"; }

write_units() {
    units=/etc/systemd/system
    if [ "$program" = edge-sink ]; then
        edge_sink_service >$units/edge-sink.service
        return
    fi
    mkdir -p $units/edge-agent.service.d && edge_agent_service >$units/edge-agent.service || return 1
    edge_agent_upgrade_service >$units/edge-agent-upgrade.service && edge_agent_upgrade_path >$units/edge-agent-upgrade.path || return 1
    rm -f $units/edge-agent.service.d/camera.conf $units/edge-agent.service.d/docker.conf $units/edge-agent.service.d/gpu.conf
    for device in /dev/video[0-9]*; do
        [ ! -e "$device" ] || drop_in camera || return 1
        break
    done
    [ ! -S /run/docker.sock ] || drop_in docker || return 1
    [ ! -e /dev/nvidia0 ] || drop_in gpu || return 1
    rmdir $units/edge-agent.service.d 2>/dev/null
    return 0
}

# drop_in NAME: the rights that a camera, Docker or a GPU needs besides the unit's.
drop_in() {
    say "    with $1.conf"
    "edge_agent_$1_conf" >"$units/edge-agent.service.d/$1.conf"
}

write_runner() { run_sh | sed "s|@BASE@|$base|g; s|@ETC@|$etc|g; s|@RUN@|$run|g; s|@USER@|$run_as|g; s|@PROGRAM@|$program|g; s|@VOLATILE@|$volatile|g" >"$etc/run" && chmod 755 "$etc/run"; }

write_procd() {
    if [ $ram = 0 ]; then
        edge_agent_init >/etc/init.d/edge-agent
    else
        write_runner && printf '%s\n' '#!/bin/sh /etc/rc.common' 'START=95' 'USE_PROCD=1' 'start_service() {' '    procd_open_instance' \
            "    procd_set_param command $etc/run" '    procd_set_param respawn 3600 5 0' '    procd_set_param stderr 1' \
            '    procd_set_param term_timeout 15' '    procd_close_instance' '}' >/etc/init.d/edge-agent
    fi && chmod 755 /etc/init.d/edge-agent && mkdir -p /lib/upgrade/keep.d && printf '%s/\n' "$etc" >/lib/upgrade/keep.d/edge-agent
}

write_boot_hook() {
    mkdir -p /data/on_boot.d && printf '#!/bin/sh\nexec sh %s/install.sh --return\n' "$kept$etc" >"/data/on_boot.d/50-$program.sh" &&
        chmod 755 "/data/on_boot.d/50-$program.sh"
}

start_service() {
    case $init in
        systemd)
            systemctl daemon-reload && systemctl enable --quiet "$program" || return 1
            [ "$program" != edge-agent ] || systemctl enable --quiet --now edge-agent-upgrade.path
            # A restart could meet the one that systemd makes by itself.
            systemctl stop "$program" && systemctl start --no-block "$program"
            ;;
        procd) "/etc/init.d/$program" enable && "/etc/init.d/$program" restart ;;
        busybox)
            if ! grep -q ":$etc/run" /etc/inittab; then
                printf '::respawn:%s/run\n' "$etc" >>/etc/inittab
                kill -HUP 1
            else
                stop_runner # init starts it again
            fi
            ;;
        none)
            stop_runner
            if has setsid; then
                setsid "$etc/run" </dev/null >/dev/null 2>&1 &
            else
                "$etc/run" </dev/null >/dev/null 2>&1 &
            fi
            ;;
    esac
}

stop_runner() {
    runner=$(cat "$run.runner/run.pid" 2>/dev/null) || return 0
    kill "$runner" 2>/dev/null || return 0
    for i in 1 2 3 4 5 6 7 8 9 10 11 12 13 14 15; do
        kill -0 "$runner" 2>/dev/null || return 0
        sleep 1
    done
    kill -KILL "$runner" 2>/dev/null
    : "$i"
}

last_words() {
    case $init in
        systemd) journalctl -u "$program" -n "${1:-6}" -o cat --no-pager 2>/dev/null ;;
        procd) logread -e "$program" 2>/dev/null | tail -n "${1:-6}" ;;
        *) tail -n "${1:-6}" "$run.runner/log" 2>/dev/null ;;
    esac | sed 's/^/    /'
}
