#!/bin/sh
# Makes .venv: Python 3.7 with the packages of requirements.txt. Does nothing where it is there and whole.
#   ./make_venv.sh          what the recipes need
#   ./make_venv.sh --dev    and what the tests and the linter need on top (requirements-dev.txt)
# Exit codes: 0 .venv is ready; 2 there is no Python 3.7; 3 something cannot be had (a package, disk space).
set -eu
cd "$(dirname "$0")"
site=.venv/lib/python3.7/site-packages

say() {
    echo "make_venv.sh: $*" >&2
}

# ---- A Python 3.7 that starts ----

# Starts the interpreter $1. Prints its path if it is a Python 3.7 that can make an environment; one that is itself
# in an environment names the Python this was made from, since the environment may be .venv, which is made anew.
try_python() {
    "$1" -c '
import os, sys
import ctypes, ensurepip, ssl, venv
assert sys.version_info[:2] == (3, 7) and sys.maxsize > 2 ** 32
base = os.path.join(getattr(sys, "real_prefix", sys.base_prefix), "bin", "python3.7")
print(base if os.path.exists(base) else sys.executable)' </dev/null 2>/dev/null
}

find_python() {
    if [ -n "${PYTHON-}" ]; then
        try_python "$PYTHON" && return
        say "PYTHON=$PYTHON is no Python 3.7 that starts and can make an environment; looking for another"
    fi
    try_python python3.7 && return  # a pyenv shim can exist and fail
    for python in "${PYENV_ROOT:-${HOME-}/.pyenv}"/versions/*/bin/python3.7; do
        try_python "$python" && return
    done
    try_python "$(uv python find 3.7 2>/dev/null)" && return
    install_python uv && return
    fetch_uv && install_python .uv/bin/uv
}

# Has the uv at $1 download a Python 3.7; quick where it has done so before. The download itself is untried: where this
# was written nothing but package indexes can be reached.
install_python() {
    command -v "$1" >/dev/null || return 1
    say "no Python 3.7 on this machine: asking $1 to download one"
    "$1" python install --quiet 3.7 >/dev/null 2>&1 || return 1
    try_python "$("$1" python find --python-preference only-managed 3.7 2>/dev/null)"
}

# Installs uv from pip in .uv. 0.6 is the last that knows where to download Python 3.7; a newer one may be on the path.
fetch_uv() {
    .uv/bin/uv --version >/dev/null 2>&1 && return
    say 'no uv here that can do that: fetching one from pip into the folder .uv'
    rm -rf .uv
    for python in python3 python; do
        { "$python" -m venv .uv && .uv/bin/python -m pip install --quiet uv==0.6.17; } >/dev/null 2>&1 && return
        # Debian's Python has venv and pip in packages of their own
        "$python" -m pip install --quiet --target .uv uv==0.6.17 >/dev/null 2>&1 && return
    done
    return 1
}

# ---- Is .venv whole? ----

# What a stamp says in its first line: where .venv was made (its scripts hold that path), and of which requirements.
made_of() {
    echo "$PWD $(cat "$@" | cksum)"
}

# Writes the stamp $1 for the requirements files that follow, and below it what is installed. It is written last and
# in one piece: without it .venv is half-made.
write_stamp() {
    stamp=$1
    shift
    { made_of "$@"; ls "$site" | grep -v __pycache__; } >"$stamp.part"
    mv "$stamp.part" "$stamp"
}

# Succeeds where what stamp $1 says still holds and Python starts, as that of an environment.
holds() {
    stamp=$1
    shift
    [ -f "$stamp" ] && [ "$(head -n 1 "$stamp")" = "$(made_of "$@")" ] &&
        tail -n +2 "$stamp" | (cd "$site" && xargs ls -d) >/dev/null 2>&1 &&
        .venv/bin/python -c 'import sys; sys.exit(sys.prefix == sys.base_prefix)' 2>/dev/null
}

# ---- Make it ----

install() {
    .venv/bin/python -m pip -qq --disable-pip-version-check install --no-build-isolation --no-deps "$@" || {
        say "error: cannot install the packages (pip says why above); run the same command again when that is cured"
        exit 3
    }
}

make_venv() {
    python=$(find_python) || {
        cat >&2 <<'END'
make_venv.sh: error: no Python 3.7 found; TensorFlow 1.15 runs on no later one. Three ways to get it:
  pyenv:  pyenv install 3.7
  uv:     uvx uv@0.6.17 python install 3.7    (newer uv no longer offers it)
  conda:  conda create --name python37 python=3.7, then conda activate python37
Then run make again. A Python 3.7 in a place of its own is named so: make PYTHON=/path/to/python3.7 mnist
END
        exit 2
    }
    say "making .venv with $python: about a minute, and the time to download 600 MB of packages once"
    rm -rf .venv
    "$python" -m venv .venv || { say "error: $python cannot make .venv (it says why above)"; exit 3; }
    # shellcheck disable=SC2046  # one word each
    install $(grep -oE '^(pip|setuptools|wheel)==[^ ]+' requirements.txt)  # what builds gast and tflearn
    install -r requirements.txt
    write_stamp .venv/stamp requirements.txt
}

# One at a time; the lock, on this folder, goes with the process.
if command -v flock >/dev/null; then
    exec 9<.
    # 1 means busy; any other failure that the file system knows no locks
    flock -n 9 || [ $? -ne 1 ] || { say 'another make is making .venv: waiting for it'; flock 9; }
fi
holds .venv/stamp requirements.txt || make_venv
if [ "${1-}" = --dev ] && ! holds .venv/stamp-dev requirements.txt requirements-dev.txt; then
    say 'adding what the tests need to .venv: a few seconds'
    install --force-reinstall -r requirements-dev.txt
    write_stamp .venv/stamp-dev requirements.txt requirements-dev.txt
fi
