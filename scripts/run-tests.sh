#!/bin/sh
# Runs the tests: first all that are not marked `slow`, in two processes, then the slow tests, one after another: several
# agents, namespaces and deadlines in real time need the machine for themselves.
#
#   run-tests.sh PYTHON [ARGUMENT...]     arguments go to both runs of pytest; exits with the first failure's code
set -u

python=$1
shift
nothing=5 # pytest's code for: no test was selected

"$python" -m pytest -m "not slow" --numprocesses 2 --dist loadfile "$@"
first=$?
[ $first -eq 2 ] && exit $first # interrupted
"$python" -m pytest -m slow "$@"
second=$?
[ $first -eq $nothing ] && exit $second
[ $first -ne 0 ] || [ $second -eq $nothing ] && exit $first
exit $second
