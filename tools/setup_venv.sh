#!/bin/sh
# Makes the virtual environment that every make target uses, and installs hivemesh and its tools into it.
#
# Usage: setup_venv.sh DIRECTORY. $PYTHON names the interpreter to use (default python3). What is missing on the
# machine is said in one sentence, before anything is downloaded. Never installs anything outside DIRECTORY.
set -eu

venv=$1
python=${PYTHON:-python3}

stop() {
    echo "hivemesh: $1" >&2
    exit 1
}

command -v flock >/dev/null || stop "flock is missing (on Debian: apt install util-linux)"
# Two targets started at once must not fill the same directory.
if [ -z "${HIVEMESH_VENV_LOCKED:-}" ]; then
    exec env HIVEMESH_VENV_LOCKED=1 flock "${venv%/}.lock" "$0" "$venv"
fi
[ ! "$venv/.installed" -nt pyproject.toml ] || exit 0

command -v "$python" >/dev/null || stop "Python 3.11 or newer is needed, and $python was not found (on Debian: apt install python3 python3-venv python3-dev)"
"$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' ||
    stop "Python 3.11 or newer is needed, and $python is $("$python" -V 2>&1); name another with make PYTHON=python3.13"
"$python" -c 'import ensurepip, venv' 2>/dev/null || stop "$python has no venv module (on Debian: apt install python3-venv)"
"$python" -c 'import os, sys, sysconfig; sys.exit(not os.path.exists(os.path.join(sysconfig.get_path("include"), "Python.h")))' ||
    stop "the headers of $python are missing (on Debian: apt install python3-dev)"
command -v "${CC:-cc}" >/dev/null || command -v gcc >/dev/null || stop "a C compiler is missing (on Debian: apt install gcc)"

if [ ! -x "$venv/bin/python" ]; then
    echo "making $venv"
    "$python" -m venv "$venv"
fi
echo "installing hivemesh and its tools into $venv"
pip() { "$venv/bin/python" -m pip --disable-pip-version-check -q "$@"; }
# The build tools come first and are used as they are: an isolated build would download them again, and would
# recompile every module for each change of pyproject.toml.
pip install $("$venv/bin/python" -c '
import tomllib
with open("pyproject.toml", "rb") as file:
    print(*tomllib.load(file)["build-system"]["requires"])
')
pip install --no-build-isolation --editable '.[dev]'
touch "$venv/.installed"
