# -- the release -------------------------------------------------------------------------------------------------------

# kind program architecture variant(-: none) size unpacked sha256 file, in bytes.
packages() {
    cat <<'END'
@PACKAGES@
END
}

release_key() {
    cat <<'END'
@RELEASE_PUB@
END
}

release_usign_key() {
    cat <<'END'
@RELEASE_USIGN_PUB@
END
}

# A folder, or an address with the pin of its server's key; without --from the folder of this script.
place_of_release() {
    [ -n "$from" ] || case $0 in */install.sh) from=${0%/*} ;; esac
    [ -n "$from" ] || fail 'say where the release is: --from DIR|URL'
    case $from in
        *'#sha256//'*)
            pin=${from#*#}
            from=${from%%#*}
            matches "${pin#sha256//}" 'A-Za-z0-9+/=' 44 || fail "the pin in --from is damaged"
            ;;
    esac
    from=${from%/}
    case $from in
        https://* | http://*) remote=1 ;;
        *)
            remote=0
            [ -d "$from" ] || fail "there is no folder $from"
            from=$(cd "$from" && pwd)
            ;;
    esac
}

# get FILE TO: one file of the release. A server is known by its pin; without curl nothing can check it, so such a file counts
# only by its SHA-256.
get() {
    get_from "$from" "$1" "$2" || fail "cannot get $1 from $from"
}

get_from() {
    if [ "$remote" = 0 ]; then
        cp "$1/$2" "$3" 2>/dev/null
    elif has curl; then
        set -- "$1/$2" "$3"
        if [ -n "$pin" ]; then
            curl -fsSk --pinnedpubkey "$pin" --retry 2 --connect-timeout 15 -o "$2" "$1"
        else
            curl -fsSL --retry 2 --connect-timeout 15 -o "$2" "$1"
        fi
    elif has uclient-fetch; then
        uclient-fetch -q --no-check-certificate -O "$3" "$1/$2"
    elif has wget; then
        wget -q --no-check-certificate -O "$3" "$1/$2"
    else
        fail 'there is no curl, wget or uclient-fetch here: install from a folder with --from DIR'
    fi
}

is_sha256() { [ "$(sha256sum "$1" 2>/dev/null | cut -d ' ' -f 1)" = "$2" ]; }

# Another version or channel than this script's: its packages are known by a manifest that the release key signed.
choose_release() {
    list=''
    [ -n "$asked_version" ] || [ -n "$asked_channel" ] || return 0
    [ "${asked_version:-$VERSION}" != "$VERSION" ] || [ "${asked_channel:-$CHANNEL}" != "$CHANNEL" ] || return 0
    work_folder
    found=''
    for folder in '' "/$asked_channel" "/$asked_version"; do
        [ -n "$folder" ] && [ "$folder" = / ] && continue
        get_from "$from$folder" manifest.json "$work/manifest.json" 2>/dev/null || continue
        [ "${asked_version:-$(field version)}" = "$(field version)" ] || continue
        [ "${asked_channel:-$(field channel)}" = "$(field channel)" ] || continue
        found=1 from=$from$folder
        break
    done
    [ -n "$found" ] || fail "$from has no release ${asked_version:-of the channel $asked_channel}"
    VERSION=$(field version) CHANNEL=$(field channel)
    matches "$VERSION" '0-9A-Za-z.+-' 40 || fail 'the manifest has no proper version'
    check_signature
    [ "$checked" = 1 ] ||
        fail "nothing here can check the signature of another release (openssl, usign or signify): use the installer of that release"
    list=$({ tr -d '\n' <"$work/manifest.json" && echo; } | tr '{' '\n' | while IFS= read -r object; do
        case $object in *'"sha256"'*) ;; *) continue ;; esac
        of() { printf '%s' "$object" | sed -n "s/.*\"$1\" *: *\"\{0,1\}\([^\",}]*\).*/\1/p"; }
        v=$(of variant)
        printf '%s\n' "$(of kind) $(of program) $(of arch) ${v:--} $(of size) $(of unpacked) $(of sha256) $(of file)"
    done)
}

# field NAME: a text at the top of the manifest.
field() { tr -d '\n' <"$work/manifest.json" | sed 's/"packages".*//' | sed -n "s/.*\"$1\" *: *\"\([^\"]*\)\".*/\1/p"; }

# The kinds of packages that this machine can unpack, the smallest first.
unpackers() {
    if has xz; then say tar.xz; fi
    if has dpkg-deb; then say deb; fi
    say ipk
}

choose_package() {
    package=''
    for kind in $(unpackers); do
        found=$({ if [ -n "$list" ]; then say "$list"; else packages; fi; } |
            awk -v k="$kind" -v p="$program" -v a="$arch" -v v="${variant:--}" '$1==k && $2==p && $3==a && $4==v {print $5, $6, $7, $8; exit}')
        [ -n "$found" ] || continue
        package_size=${found%% *} found=${found#* }
        package_unpacked=${found%% *} found=${found#* }
        package_sha256=${found%% *} package=${found#* }
        package_kind=$kind
        break
    done
    [ -n "$package" ] || fail "release $VERSION has no $program${variant:+ with $variant} for $arch that this machine can unpack"
    if ! { matches "$package_sha256" '0-9a-f' 64 && matches "$package" 'A-Za-z0-9._+-' 120 && matches "$package_size$package_unpacked" '0-9' 24; }; then
        fail 'the list of packages is damaged'
    fi
}

# Where a tool for signatures is, the manifest must be signed by the release key of this script.
check_signature() {
    [ "$dry_run" = 0 ] || [ -n "$work" ] || return 0
    [ "$checked" = 0 ] || return 0
    [ -e "$work/manifest.json" ] || get manifest.json "$work/manifest.json"
    tool=''
    for name_of in openssl usign signify-openbsd signify; do has $name_of && tool=$name_of && break; done
    if [ -z "$tool" ]; then
        say "no tool here checks signatures (openssl, usign, signify): the SHA-256 in this script decides"
        return 0
    fi
    if [ "$tool" = openssl ]; then
        release_key >"$work/key"
        get manifest.json.sig "$work/manifest.json.sig"
        openssl dgst -sha256 -verify "$work/key" -signature "$work/manifest.json.sig" "$work/manifest.json" >/dev/null 2>&1 ||
            fail "the signature of the manifest in $from is wrong: nothing was installed"
    else
        release_usign_key >"$work/key"
        get manifest.json.usig "$work/signature"
        "$tool" -V -q -m "$work/manifest.json" -p "$work/key" -x "$work/signature" >/dev/null 2>&1 ||
            fail "the signature of the manifest in $from is wrong: nothing was installed"
    fi
    checked=1
    [ "$(field version)" = "$VERSION" ] || fail "$from holds release $(field version), and this is the installer of $VERSION"
    [ -z "${package_sha256:-}" ] || grep -q "$package_sha256" "$work/manifest.json" ||
        fail "the manifest in $from does not name the package of this installer: nothing was installed"
    say "the manifest's signature is right ($tool)"
}

fetch_package() {
    [ "$fresh" = 1 ] || return 0
    step "fetch $package ($(megabytes "$package_size")) from $from" get "$package" "$work/$package"
    [ "$dry_run" = 1 ] || is_sha256 "$work/$package" "$package_sha256" ||
        fail "the SHA-256 of $package is wrong: the file is damaged or not of this release; nothing was installed"
}
