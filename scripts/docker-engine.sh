#!/bin/sh
# Starts the installed Docker engine of this machine unless it runs, and waits until it answers.
#
#   docker-engine.sh          start if needed; exit 0 if an engine answers, 3 if none is installed, 1 if it does not start
#   docker-engine.sh --stop   stop only the engine that this script started
#
# Needs root to start an engine. State: .cache/dockerd.pid and .cache/dockerd.log in this checkout.
set -eu

root=$(cd "$(dirname "$0")/.." && pwd)
cache=$root/.cache
pid_file=$cache/dockerd.pid
log_file=$cache/dockerd.log
wait_s=60

say() { printf 'docker-engine: %s\n' "$*"; }
fail() { code=$1; shift; printf 'docker-engine: %s\n' "$*" >&2; exit "$code"; }
answers() { docker info >/dev/null 2>&1; }
# Another program may have got the pid meanwhile: the pid file counts only while that pid is a dockerd.
ours() { [ -s "$pid_file" ] && [ "$(cat "/proc/$(cat "$pid_file")/comm" 2>/dev/null)" = dockerd ]; }

stop() {
    if ! ours; then
        rm -f "$pid_file"
        say "nothing to stop: no engine that this script started is running"
        return 0
    fi
    pid=$(cat "$pid_file")
    kill "$pid"
    i=0
    while kill -0 "$pid" 2>/dev/null; do
        i=$((i + 1))
        [ "$i" -le $((wait_s * 5)) ] || fail 1 "pid $pid does not end; its log: $log_file"
        sleep 0.2
    done
    rm -f "$pid_file"
    say "stopped (pid $pid)"
}

start() {
    command -v docker >/dev/null || fail 3 "no docker client is installed; on Debian: apt-get install docker.io"
    if answers; then
        say "already running ($(docker version --format '{{.Server.Version}}'))"
        return 0
    fi
    dockerd=$(PATH=$PATH:/usr/sbin:/sbin command -v dockerd) ||
        fail 3 "no Docker engine is installed; on Debian: apt-get install docker.io"
    [ "$(id -u)" = 0 ] || fail 1 "an engine is installed but not running; start it as root: sudo $0"
    mkdir -p "$cache"
    # Its own session, so that Ctrl-C in the caller's terminal does not end the engine under running containers.
    setsid "$dockerd" >"$log_file" 2>&1 </dev/null 9>&- &
    pid=$!
    echo "$pid" >"$pid_file"
    i=0
    until answers; do
        i=$((i + 1))
        if ! kill -0 "$pid" 2>/dev/null || [ "$i" -gt $((wait_s * 5)) ]; then
            rm -f "$pid_file"
            kill "$pid" 2>/dev/null || true
            tail -n 5 "$log_file" >&2
            fail 1 "the engine did not start; its log: $log_file"
        fi
        sleep 0.2
    done
    say "started (pid $pid, log $log_file); stop it with: $0 --stop"
}

case "${1:-}" in
'')
    mkdir -p "$cache"
    exec 9>"$cache/dockerd.lock"
    flock 9
    start
    ;;
--stop) stop ;;
*) fail 2 "unknown option $1 (there is only --stop)" ;;
esac
