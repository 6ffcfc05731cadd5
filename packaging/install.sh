#!/bin/sh
# Installs, upgrades and removes edge-agent and edge-sink, version @VERSION@. For any POSIX shell, busybox ash included.
# The functions below change nothing by themselves: a download that was cut off does nothing. See docs/install.md.
set -u

VERSION='@VERSION@'
CHANNEL='@CHANNEL@'

#@parts

usage() {
    cat <<'END'
usage: install.sh [options]          install or upgrade this machine's edge-agent

  --from DIR|URL      where the release's files are: a folder, a USB stick, http(s)://…[#sha256//PIN]
  --token-file FILE   join the mesh with the token in FILE (or in the variable EDGE_AGENT_TOKEN; else it is asked for)
  --new               the first machine: make a new mesh, and keep the release's files for the next devices
  --store             keep the release's files here too, so that this node can hand them out (--from DIR)
  --name NAME         name of this node (default: the host's name)
  --label KEY=VALUE   label to ask for; repeatable
  --variant VARIANT   camera or detector instead of the plain agent (x86_64 and aarch64)
  --sink              install edge-sink instead of the agent
  --version VERSION   another version of the same place; its manifest's signature must be checkable here
  --channel CHANNEL   the release of another channel of the same place, likewise
  --wait SECONDS      how long to wait until the node is in the mesh (default 60)
  --dry-run           say what would be done, and change nothing
  --uninstall         remove everything, the node's identity included
  --help              this text

Exit codes: 0 done; 1 failed, with one sentence that says why; 2 wrong options.
END
}

options() {
    from='' pin='' token='' token_file='' name='' labels='' variant='' program=edge-agent
    asked_version='' asked_channel='' wait_s=60 dry_run=0 uninstall=0 new=0 store=0 back=0 passing=0
    while [ $# -gt 0 ]; do
        case $1 in
            --dry-run) dry_run=1 ;;
            --uninstall) uninstall=1 ;;
            --sink) program=edge-sink ;;
            --new) new=1 store=1 ;;
            --store) store=1 ;;
            --passing) passing=1 ;; # a folder that goes away: edge-agent upgrade
            --return) back=1 ;; # the start of a machine whose copy of the program did not survive it
            --help | -h) usage && exit 0 ;;
            --from | --token-file | --name | --label | --variant | --version | --channel | --wait)
                [ $# -ge 2 ] || usage_error "$1 needs a value"
                option "$1" "$2"
                shift
                ;;
            *) usage_error "there is no option $1" ;;
        esac
        shift
    done
    [ "$program" = edge-agent ] || [ -z "$variant$name$labels$token_file" ] ||
        usage_error 'edge-sink has no variant, name, label and token'
    case $new$token_file in 1?*) usage_error '--new makes a mesh, and --token-file joins one: give one of them' ;; esac
}

option() {
    case $1 in
        --from) from=$2 ;;
        --token-file) token_file=$2 ;;
        --name) matches "$2" 'A-Za-z0-9._-' 63 || usage_error "$2 is not a name" && name=$2 ;;
        --label)
            case $2 in ?*=*) ;; *) usage_error "$2 is not a label: write it like camera=true" ;; esac
            matches "$2" 'A-Za-z0-9./_=-' 200 || usage_error "$2 is not a label"
            labels="$labels $2"
            ;;
        --variant)
            case $2 in camera | detector) variant=$2 ;; *) usage_error "there is no variant $2" ;; esac
            ;;
        --version) matches "$2" '0-9A-Za-z.+-' 40 || usage_error "$2 is not a version" && asked_version=$2 ;;
        --channel) matches "$2" 'a-z0-9-' 40 || usage_error "$2 is not a channel" && asked_channel=$2 ;;
        --wait) matches "$2" '0-9' 5 || usage_error '--wait needs a number of seconds' && wait_s=$2 ;;
    esac
}

main() {
    work='' undo=0 lock=''
    checked=0
    trap clean EXIT
    trap 'exit 130' INT
    trap 'exit 143' TERM HUP
    # The token reaches no other program: not its arguments, and not its environment.
    given_token=${EDGE_AGENT_TOKEN:-}
    unset EDGE_AGENT_TOKEN
    options "$@"
    if [ "$(id -u)" -ne 0 ] && [ "$dry_run" = 0 ]; then
        run_as_root "$@"
        exit $?
    fi
    facts
    paths
    not_a_package
    if [ "$uninstall" = 1 ]; then
        alone
        remove
        exit $?
    fi
    supported
    alone
    relink
    recall
    place_of_release
    choose_release
    choose_package
    choose_place
    say_plan
    choose_token
    work_folder
    check_signature
    fetch_package
    install_program
    set_up
    start_and_wait
}

{ main "$@"; }
