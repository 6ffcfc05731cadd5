#!/bin/sh
# Runs a command with a Docker engine. If no engine runs, starts one before the command and stops it afterwards.
#
#   with-engine.sh COMMAND [ARGUMENT...]     exits with the command's code; without an engine with docker-engine.sh's code
set -u

here=$(dirname "$0")
if docker info >/dev/null 2>&1; then
    exec "$@"
fi
"$here/docker-engine.sh" >/dev/null || exit
trap : INT # the command gets the signal too; this shell stays to stop the engine
"$@"
code=$?
"$here/docker-engine.sh" --stop >/dev/null
exit "$code"
