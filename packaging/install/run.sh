#!/bin/sh
# Runs the program and starts it again 5 s after each end; for systems without systemd and procd.
# The first 200 lines of each start are in @RUN@.runner/log; a syslog daemon gets all. That folder is root's: in the program's own
# folder a link could lead root's writing elsewhere.
set -u

main() {
    mkdir -p @RUN@ && chown @USER@: @RUN@
    volatile=@VOLATILE@
    # The user makes it: in /tmp a link could lead a chown of root elsewhere.
    [ -z "$volatile" ] || as_user "mkdir -p -m 700 $volatile"
    mkdir -p @RUN@.runner && chmod 700 @RUN@.runner
    echo $$ >@RUN@.runner/run.pid
    child='' keeper=''
    trap stop TERM INT
    # A program in RAM did not survive the restart: it is fetched again.
    while [ ! -x @BASE@/current/@PROGRAM@ ] && ! sh @ETC@/install.sh --return >@RUN@.runner/log 2>&1; do pause 30; done
    rm -f @RUN@.runner/lines
    mkfifo -m 600 @RUN@.runner/lines
    while :; do
        keep_lines <@RUN@.runner/lines &
        keeper=$!
        run >@RUN@.runner/lines 2>&1 &
        child=$!
        wait $child
        child=''
        pause 5
        kill $keeper 2>/dev/null # a program that outlived the agent may hold the pipe open
    done
}

run() {
    cd / || exit 1
    user=@USER@
    if [ $user = root ]; then
        exec @BASE@/current/@PROGRAM@ serve
    fi
    exec su -s /bin/sh @USER@ -c 'exec @BASE@/current/@PROGRAM@ serve'
}

as_user() {
    user=@USER@
    if [ $user = root ]; then
        sh -c "$1"
    else
        su -s /bin/sh @USER@ -c "$1"
    fi
}

keep_lines() {
    lines=0
    : >@RUN@.runner/log
    while IFS= read -r line; do
        lines=$((lines + 1))
        [ $lines -gt 200 ] || printf '%s\n' "$line" >>@RUN@.runner/log
        [ ! -S /dev/log ] || logger -t @PROGRAM@ -- "$line"
    done
}

pause() {
    sleep "$1" &
    child=$!
    wait $child
}

stop() {
    trap - TERM INT
    if [ -n "$child" ]; then
        kill "$child" 2>/dev/null
        wait "$child"
    fi
    [ -z "$keeper" ] || kill "$keeper" 2>/dev/null
    rm -f @RUN@.runner/run.pid @RUN@.runner/lines
    exit 0
}

{ main "$@"; }
