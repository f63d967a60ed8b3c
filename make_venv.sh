#!/bin/sh
# Makes .venv, the Python environment of the recipes, on one of two stacks:
#   tf1  TensorFlow 1.15 on Python 3.7 (requirements.txt), the reference; Linux and macOS on x86-64
#   tf2  TensorFlow 2 on Python 3.10 to 3.13 (requirements-tf2.txt)
# STACK=tf1 or tf2 chooses; else it is the one that is there, or tf1 where a Python 3.7 is found, and tf2 otherwise. Each
# stack has an environment of its own, .venv-tf1 and .venv-tf2, which stay side by side; .venv links to the one that was
# asked for last. Does nothing where it is there and whole.
#   ./make_venv.sh                    what the recipes need
#   ./make_venv.sh --dev              and what the tests and the linter need on top
#   ./make_venv.sh --studio           and what recipes/studio.py needs on top
#   ./make_venv.sh --describe FILE    says what the recipe in FILE is; makes nothing
# PYTHON names a Python to use. CUDA=1 or 0 takes or leaves NVIDIA's libraries (tf2); else they come where nvidia-smi
# shows a card. DRY_RUN=1 says what would be made.
# Exit codes: 0 .venv is ready; 2 there is no Python that serves; 3 something cannot be had (a package, disk space).
set -eu
cd "$(dirname "$0")"
export PIP_USER=0  # a pip.conf that installs for the user has nothing to say here
export PYTHONUTF8=1  # protobuf cannot be imported from a path with other letters than ASCII's in the C locale

say() {
    echo "make_venv.sh: $*" >&2
}

if [ "${1-}" = --describe ]; then
    awk '/"""/ { count++; sub(/"""/, "") } count == 2 { exit } count == 1' "$2"
    name=${2##*/}
    echo
    echo "All options: docs/${name%.py}.md, or --help once there is an environment (make venv)."
    exit 0
fi

# ---- A Python that starts ----

case "${STACK-}" in
    tf1 | tf2 | '') ;;
    *) say "error: STACK=$STACK: tf1 (TensorFlow 1.15, Python 3.7) or tf2 (TensorFlow 2, Python 3.10 to 3.13)"; exit 2 ;;
esac
machine="$(uname -s) $(uname -m)"
# TensorFlow 1.15 has packages for these alone
case "$machine" in 'Linux x86_64' | 'Darwin x86_64') has_tf1=yes ;; *) has_tf1= ;; esac
found=''  # what was found and does not serve, a line each

# Starts the interpreter $1. If its version is among the words of $2 and it can make an environment, prints the path of
# the Python itself (one that is in an environment names the Python this was made from) and succeeds. Otherwise prints
# what is wrong and returns 1; nothing where it does not start at all.
try_python() {
    "$1" -c '
import os, sys
version = "%d.%d" % sys.version_info[:2]
if version not in sys.argv[1].split():
    sys.exit("is Python " + version)
if sys.maxsize <= 2 ** 32:
    sys.exit("is a 32-bit Python " + version)
for module, cure in (("ensurepip", "sudo apt install python3-venv, on Debian and Ubuntu"), ("venv", "the same"),
                     ("ctypes", "a complete Python"), ("ssl", "a Python with SSL")):
    try:
        __import__(module)
    except ImportError:
        sys.exit("is Python %s without the module %s: it needs %s" % (version, module, cure))
base = os.path.join(getattr(sys, "real_prefix", sys.base_prefix), "bin", "python" + version)
print(base if os.path.exists(base) else sys.executable)' "$2" </dev/null 2>&1 || return 1
}

# Tries $1 for the versions $2: sets `python` where it serves, else notes why not.
takes() {
    [ -n "$1" ] && { command -v "$1" >/dev/null 2>&1 || [ -x "$1" ]; } || return 1
    if answer=$(try_python "$1" "$2") && [ -n "$answer" ]; then
        python=$answer
        return 0
    fi
    case "$answer" in is\ *) found="$found
  found $1, but it $answer" ;; esac
    return 1
}

# The versions, newest first, that the stacks run on.
versions_of() {
    for any; do
        if [ "$any" = tf1 ]; then printf "3.7 "; else printf "3.13 3.12 3.11 3.10 "; fi
    done
}

# Sets `python` to one that is on this machine and serves stack $1.
find_python() {
    wanted=$(versions_of "$1")
    for version in $wanted; do
        takes "python$version" "$version" && return  # a pyenv shim can exist and fail
        for there in "${PYENV_ROOT:-${HOME-}/.pyenv}"/versions/"$version"*/bin/python"$version"; do
            takes "$there" "$version" && return
        done
    done
    [ "$1" = tf1 ] || { takes python3 "$wanted" && return; }
    command -v uv >/dev/null || return 1
    for version in $wanted; do
        takes "$(uv python find "$version" 2>/dev/null)" "$version" && return
    done
    return 1
}

# Has the uv at $1 download a Python 3.7; quick where it has done so before. uv says itself what goes wrong. The
# download is untried: where this was written nothing but package indexes can be reached.
install_python() {
    command -v "$1" >/dev/null || return 1
    say "no Python 3.7 on this machine: asking $1 to download one"
    "$1" python install 3.7 >&2 || return 1
    takes "$("$1" python find --python-preference only-managed 3.7 2>/dev/null)" 3.7
}

# Installs uv from pip in .uv. 0.6 is the last that knows where to download Python 3.7; a newer one may be on the path.
fetch_uv() {
    .uv/bin/uv --version >/dev/null 2>&1 && return
    say 'no uv here that can do that: fetching one from pip into the folder .uv'
    rm -rf .uv
    for any in python3 python; do
        { "$any" -m venv .uv && .uv/bin/python -m pip install --quiet uv==0.6.17; } >&2 && return
        # Debian's Python has venv and pip in packages of their own
        "$any" -m pip install --quiet --target .uv uv==0.6.17 >&2 && return
    done
    return 1
}

# Sets `stack` and `python`, or ends with what can be done.
choose() {
    if [ -n "${PYTHON-}" ]; then
        if [ -d "$PYTHON" ]; then
            say "error: PYTHON=$PYTHON is a folder; name the program, $PYTHON/bin/python3 for instance"
            exit 2
        fi
        if takes "$PYTHON" "$(versions_of ${STACK:-tf1 tf2})"; then
            stack=tf2
            if try_python "$PYTHON" 3.7 >/dev/null; then stack=tf1; fi
            return
        fi
        say "error: PYTHON=$PYTHON does not serve${found:-": it does not start"}"
        say "it takes Python 3.7 (TensorFlow 1.15) or 3.10 to 3.13 (TensorFlow 2)${STACK:+; STACK=$STACK takes $(versions_of "$STACK")}"
        exit 2
    fi
    if [ "${STACK-}" = tf1 ] && [ -z "$has_tf1" ]; then
        say "error: STACK=tf1: TensorFlow 1.15 has packages for Linux and macOS on x86-64 alone, and this is $machine; use STACK=tf2"
        exit 2
    fi
    if [ "${STACK-}" != tf2 ] && [ -n "$has_tf1" ]; then
        stack=tf1
        find_python tf1 && return
        if [ "${STACK-}" = tf1 ]; then
            install_python uv && return
            fetch_uv && install_python .uv/bin/uv && return
        fi
    fi
    if [ "${STACK-}" != tf1 ]; then
        stack=tf2
        find_python tf2 && return
    fi
    cat >&2 <<END
make_venv.sh: error: no Python that serves: 3.10 to 3.13 for TensorFlow 2, or 3.7 for TensorFlow 1.15.$found
  Debian, Ubuntu:  sudo apt install python3-venv
  macOS:           brew install python@3.13
  anywhere:        conda create --name recipes python=3.13, then conda activate recipes; or uv python install 3.13
  Python 3.7:      pyenv install 3.7, or uvx uv@0.6.17 python install 3.7 (newer uv no longer offers it)
Then run make again. A Python in a place of its own is named so: make PYTHON=/path/to/python3 mnist
END
    exit 2
}

# Sets what stack $1 is made of.
set_stack() {
    stack=$1 venv=.venv-$1
    if [ "$stack" = tf1 ]; then
        requirements=requirements.txt dev=requirements-dev.txt cuda=
        title='TensorFlow 1.15' other='make STACK=tf2 for TensorFlow 2' size='600 MB'
        return
    fi
    requirements=requirements-tf2.txt dev=requirements-tf2-dev.txt cuda=
    title='TensorFlow 2' other='make STACK=tf1 for TensorFlow 1.15, on Python 3.7' size='800 MB'
    if [ "${CUDA-}" = 1 ] || { [ -z "${CUDA-}" ] && [ "$machine" = 'Linux x86_64' ] && sees_a_card; }; then
        cuda=requirements-tf2-cuda.txt title='TensorFlow 2 with CUDA' size='3 GB'
    fi
}

sees_a_card() {
    nvidia-smi -L 2>/dev/null | grep -q GPU
}

# ---- Is it whole? ----

packages() {
    (cd "$venv"/lib/python*/site-packages && "$@")
}

# What a stamp holds in the end: where the environment was made (its scripts hold that path), and of which requirements.
made_of() {
    echo "$PWD"
    cat "$@"
}

# Writes the stamp $1 for the requirements files that follow, and beside it what is installed. The stamp is written last
# and in one piece: without it the environment is half-made.
write_stamp() {
    stamp=$1
    shift
    packages ls | grep -v __pycache__ >"$stamp.list"
    made_of "$@" >"$stamp.part"
    mv "$stamp.part" "$stamp"
}

# Succeeds where what stamp $1 says still holds and Python starts, as that of an environment.
holds() {
    stamp=$1
    shift
    [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$(made_of "$@")" ] &&
        packages xargs ls -d <"$stamp.list" >/dev/null 2>&1 &&
        "$venv/bin/python" -c 'import sys; sys.exit(sys.prefix == sys.base_prefix)' 2>/dev/null
}

# ---- Make it ----

install() {
    "$venv/bin/python" -m pip -qq --disable-pip-version-check install --no-build-isolation --no-deps "$@" || {
        say "error: cannot install the packages (pip says why above); run the same command again when that is cured"
        exit 3
    }
}

make_venv() {
    say "making $venv with $python, for $title: about a minute, and the time to download $size once"
    [ -n "${STACK-}" ] || say "($other)"
    rm -rf "$venv"
    "$python" -m venv "$venv" || { say "error: $python cannot make $venv (it says why above)"; exit 3; }
    # shellcheck disable=SC2046  # one word each
    install $(grep -oE '^(pip|setuptools|wheel)==[^ ]+' "$requirements")  # what builds gast and tflearn
    install -r "$requirements" ${cuda:+-r "$cuda"}
    write_stamp "$venv/stamp" "$requirements" $cuda
}

# Takes an environment that is there and whole, of the stack that is asked for; else chooses a Python for a new one.
take_or_choose() {
    if [ -z "${PYTHON-}" ]; then
        for any in ${STACK:-tf1 tf2}; do
            set_stack "$any"
            holds "$venv/stamp" "$requirements" $cuda && return
        done
    fi
    choose
    set_stack "$stack"
}

if [ -n "${DRY_RUN-}" ]; then
    choose
    set_stack "$stack"
    echo "$venv: $title, $python, $requirements${cuda:+ $cuda}"
    exit 0
fi
# One at a time; the lock, on this folder, goes with the process.
if command -v flock >/dev/null; then
    exec 9<.
    # 1 means busy; any other failure that the file system knows no locks
    flock -n 9 || [ $? -ne 1 ] || { say 'another make is making an environment: waiting for it'; flock 9; }
fi
take_or_choose
holds "$venv/stamp" "$requirements" $cuda || make_venv
more=
case "${1-}" in
    --dev) more=$dev kind=dev what='the tests need' ;;
    --studio) more=requirements-studio.txt kind=studio what='the studio needs' ;;
esac
if [ -n "$more" ] && ! holds "$venv/stamp-$kind" "$requirements" $cuda "$more"; then
    say "adding what $what to $venv: a few seconds"
    install --force-reinstall -r "$more"
    write_stamp "$venv/stamp-$kind" "$requirements" $cuda "$more"
fi
if [ "$(readlink .venv 2>/dev/null)" != "$venv" ]; then
    rm -rf .venv  # another stack's link, or the environment of an earlier version
    ln -s "$venv" .venv
fi
