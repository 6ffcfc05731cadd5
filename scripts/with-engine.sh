#!/bin/sh
# Runs a command with a Docker engine: one that runs already, or one started for it and stopped after it.
#
#   with-engine.sh COMMAND [ARGUMENT...]     exits as the command does; as docker-engine.sh when no engine can be had
set -u

here=$(dirname "$0")
if docker info >/dev/null 2>&1; then
    exec "$@"
fi
"$here/docker-engine.sh" >/dev/null || exit
trap : INT # the command hears it too; this shell stays to stop the engine
"$@"
code=$?
"$here/docker-engine.sh" --stop >/dev/null
exit "$code"
