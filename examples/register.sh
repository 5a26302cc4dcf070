#!/bin/sh
# A service that registers itself: hivemesh knows it as long as this script runs.
#   examples/register.sh SERVICE HOST:PORT COMMAND...
# HIVEMESH_ADMIN says where the agent is. Needs hivemesh in PATH.
set -eu
service=$1 address=$2
shift 2

hivemesh register "$service" "$address" --check http=/health --interval 5s --ttl 15s --keep &
registration=$!
trap 'kill $registration; wait $registration' EXIT # which deregisters
"$@"
