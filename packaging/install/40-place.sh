# -- where it goes -----------------------------------------------------------------------------------------------------

# room FOLDER: free bytes of the file system of FOLDER, or of its nearest parent that exists.
room() {
    room_of=$1
    while [ ! -d "$room_of" ]; do
        room_of=${room_of%/*}
        [ -n "$room_of" ] || room_of=/
    done
    # Where nothing says how much is free, unpacking finds out.
    df -Pk "$room_of" 2>/dev/null | awk 'NR == 2 {free = $4 * 1024} END {printf "%.0f\n", NR < 2 ? 1e15 : free}'
}

in_ram() { df -Pk "$1" 2>/dev/null | awk 'NR == 2 && $1 ~ /^(tmpfs|ramfs|none)$/ {found = 1} END {exit !found}'; }

setting() { sed -n "s/^$1=//p" "$etc/install.conf" 2>/dev/null; }

# Where this machine was installed from, and how.
# The folders of the system that are not there yet, innermost first: the uninstaller removes them again where they are empty.
missing_folders() {
    made=$(setting made)
    for there in /opt /usr/local/bin /usr/local /var/lib /etc/systemd/system /lib/upgrade/keep.d; do
        [ -d "$there" ] || case " $made " in *" $there "*) ;; *) made="$made $there" ;; esac
    done
}

recall() {
    [ "$back" = 0 ] || [ -n "$from" ] || from=$(setting from)
    variant=${variant:-$(setting variant)}
}

use_ram() {
    ram=1 base=/tmp/$program-tree volatile=/tmp/$program state=$etc/state bin=''
    if [ -e "$base" ] && [ -z "$(find "$base" -prune -type d -user 0)" ]; then
        fail "$base is there already and not root's: remove it first"
    fi
    unpacked_room=$(room /tmp)
}

choose_place() {
    missing_folders
    spare=$((8 * 1048576))
    need=$((package_unpacked + spare))
    if [ $os = openwrt ]; then state=$etc/state; fi
    if [ "$(setting ram)" = 1 ]; then use_ram; fi
    find_installed
    if [ $ram = 0 ] && [ "$fresh" = 1 ] && [ "$(room "${kept:-$base}")" -lt "$need" ]; then
        if [ -n "$installed" ] || [ "$init" = systemd ] || [ "$program" != edge-agent ] || ! in_ram /tmp; then
            fail "not enough room: $program needs $(megabytes "$need") at ${kept:-$base}, and $(megabytes "$(room "${kept:-$base}")") are free"
        fi
        flash_room=$(room "$base")
        use_ram
        find_installed
    fi
    if [ $ram = 1 ] && [ "$fresh" = 1 ]; then
        # The download and the unpacked program lie in RAM at once, and the agent itself works in 64 MB.
        need=$((package_unpacked + package_size + spare))
        if [ "$unpacked_room" -lt "$need" ] || [ "$ram_free" -lt $((need + 64 * 1048576)) ]; then
            fail "not enough room: flash has too little, and RAM needs $(megabytes $((need + 64 * 1048576))) of which $(megabytes "$ram_free") are free"
        fi
    fi
}

# `installed`: the version folder that runs now; `fresh` is 0 where it is the very package of this release.
find_installed() {
    installed='' fresh=1
    [ -L "$base/current" ] && installed=$(readlink "$base/current") && installed=${installed##*/}
    folder=$VERSION
    [ -n "$installed" ] || return 0
    if [ "$(cat "$base/versions/$installed/.package" 2>/dev/null)" = "$package_sha256" ]; then
        fresh=0 folder=$installed
    elif [ "$installed" = "$VERSION" ]; then # the same version, built again
        folder=$VERSION.$(printf '%.8s' "$package_sha256")
    else
        stored=$(readlink "$base/previous" 2>/dev/null)
        [ "${stored##*/}" = "$VERSION" ] || ! older "$VERSION" "${installed%%.????????}" ||
            fail "version $installed is installed; this would go back to $VERSION, which is not the version before it"
    fi
}

# older A B: whether version A comes before version B; numbers only.
older() {
    printf '%s\n%s\n' "$1" "$2" | awk -F '[.+-]' '
        {for (i = 1; i <= 3; i++) v[NR, i] = $i + 0}
        END {for (i = 1; i <= 3; i++) if (v[1, i] != v[2, i]) exit !(v[1, i] < v[2, i]); exit 1}'
}

say_plan() {
    say "$program $VERSION${variant:+ ($variant)} for $arch; this machine: $os, init $init, C library $libc, $(megabytes "$ram_total") of RAM"
    if [ "$fresh" = 0 ]; then
        say "version $installed is installed already"
    elif [ -n "$installed" ]; then
        say "version $installed is installed; its identity and configuration stay"
    fi
    [ "$fresh" = 1 ] || return 0
    if [ $ram = 1 ]; then
        say "flash has ${flash_room:+$(megabytes "$flash_room"), }too little for $(megabytes "$package_unpacked"): the program goes to RAM ($base); $etc keeps identity and configuration"
        say "it needs $(megabytes "$need") of RAM, and 64 MB to work in; $(megabytes "$ram_free") are free"
        say "a power cut loses what is in RAM: events that are not delivered yet, photos and logs; the program is fetched again from $from"
    else
        say "it needs $(megabytes "$need") at ${kept:-$base}; $(megabytes "$(room "${kept:-$base}")") are free"
    fi
}

work_folder() {
    [ -z "$work" ] || return 0
    [ "$dry_run" = 0 ] || [ -n "$asked_version$asked_channel" ] || return 0
    for parent in "${TMPDIR:-/tmp}" /tmp /var/tmp; do
        [ -d "$parent" ] || continue
        [ "$(room "$parent")" -gt $((${package_size:-0} + 1048576)) ] || continue
        work=$(mktemp -d "$parent/install.XXXXXX") && break
    done
    [ -n "$work" ] || fail "no folder for temporary files has $(megabytes "${package_size:-0}")"
}

# -- the program -------------------------------------------------------------------------------------------------------

install_program() {
    if [ -n "$kept" ]; then
        for there in "$base" "$etc" "$state"; do
            step "make $there a link to $kept/${there#/}, which updates of the console keep" keep_at "$there"
        done
    fi
    if [ "$fresh" = 0 ]; then return; fi
    step "unpack it to $base/versions/$folder" unpack
}

# After an update of the console only /data is left.
relink() {
    if [ -z "$kept" ] || [ ! -d "$kept" ] || [ "$dry_run" = 1 ]; then return 0; fi
    for there in "$base" "$etc" "$state"; do
        [ ! -d "$kept/${there#/}" ] || [ -L "$there" ] || step "make $there a link to $kept/${there#/} again" keep_at "$there"
    done
}

keep_at() {
    mkdir -p "$kept/${1#/}" "${1%/*}"
    [ -L "$1" ] || [ ! -d "$1" ] || rmdir "$1" || return 1
    ln -sfn "$kept/${1#/}" "$1"
}

unpack() {
    to=$base/versions/.new
    rm -rf "$to"
    mkdir -p "$to" || return 1
    chmod 755 "$base" "$base/versions" "$to"
    case $package_kind in
        tar.xz) xz -dc "$work/$package" | tar -xof - -C "$to" ;;
        deb) dpkg-deb --fsys-tarfile "$work/$package" | tar -xof - -C "$to" ;;
        ipk) tar -xzOf "$work/$package" ./data.tar.gz | tar -xzof - -C "$to" ;;
    esac || { rm -rf "$to" && return 1; }
    rm -f "$work/$package"
    tree=$to/$program
    [ "$package_kind" = tar.xz ] || tree=$(echo "$to/opt/$program/versions"/*)
    if [ ! -x "$tree/$program" ]; then
        rm -rf "$to"
        return 1
    fi
    printf '%s\n' "$package_sha256" >"$tree/.package"
    rm -rf "$base/versions/$folder"
    mv "$tree" "$base/versions/$folder" && rm -rf "$to"
}

# test_program: the new version itself says that it works here, before anything uses it.
test_program() {
    as_user "$base/versions/$folder/$program" --version >"$work/test" 2>&1 || return 1
    [ "$program" != edge-agent ] || as_user "$base/versions/$folder/$program" selftest >"$work/test" 2>&1
}
