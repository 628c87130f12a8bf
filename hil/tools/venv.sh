#!/bin/sh
# Makes .venv and installs LensLink into it, from the checkout:
# `sh hil/tools/venv.sh demo|dev|bench|train`.
# `sh hil/tools/venv.sh python` only prints the Python that would be used.
#
# This is plain sh, because it first has to find out whether there is a usable Python.
# It names what is missing, with the cure, in one line, before it makes anything.

set -u

fail() {
    printf 'lenslink: %s\n' "$*" >&2
    exit 2
}

# Prints "ok", or why this Python cannot be used and, after a bar, the cure. Any Python from 2.7 on
# must be able to parse this program.
probe='
import sys
have = "Python %d.%d.%d" % sys.version_info[:3]
if not (3, 11) <= sys.version_info[:2] <= (3, 13):
    age = "too old" if sys.version_info < (3, 11) else "too new"
    print(have + " is " + age + "|install Python 3.11, 3.12 or 3.13")
    sys.exit()
if sys.implementation.name != "cpython":
    print(sys.implementation.name + " is not CPython|install CPython 3.11, 3.12 or 3.13")
    sys.exit()
try:
    import ensurepip, venv
except ImportError:
    package = "python%d.%d-venv" % sys.version_info[:2]
    print(have + " has no venv|on Debian or Ubuntu: sudo apt install " + package)
    sys.exit()
print("ok")
'

choose_python() {
    problem=
    if [ -n "${PYTHON:-}" ]; then
        candidates=$PYTHON
    else
        # What the user calls python3 first: it is the one they keep.
        candidates='python3
python3.13
python3.12
python3.11
python'
    fi
    # Split at line ends only, because $PYTHON may hold a path with a space.
    old_ifs=$IFS
    IFS='
'
    for candidate in $candidates; do
        # This fails if the candidate is missing, or is a pyenv shim without a Python.
        answer=$(command "$candidate" -c "$probe" 2>/dev/null) || continue
        if [ "$answer" = ok ]; then
            python=$candidate
            IFS=$old_ifs
            return
        fi
        # Report the first candidate's problem, unless a later one lacks only venv.
        case $problem in
            *'has no venv'*) continue ;;
            ?*) case $answer in *'has no venv'*) ;; *) continue ;; esac ;;
        esac
        problem="$candidate: $answer"
    done
    IFS=$old_ifs
    if [ -n "$problem" ]; then
        fail "${problem%%|*}; ${problem#*|}"
    elif [ -n "${PYTHON:-}" ]; then
        fail "PYTHON=$PYTHON does not run; name a Python 3.11 to 3.13"
    fi
    fail 'no Python found; install Python 3.11, 3.12 or 3.13 (with venv)'
}

# The firmware needs an interpreter. It comes from a wheel, or the user has to provide it.
check_micropython() {
    if [ -n "${MICROPYTHON:-}" ]; then
        command -v "$MICROPYTHON" >/dev/null ||
            fail "MICROPYTHON=$MICROPYTHON is not a program; unset it, or name a MicroPython"
        return
    fi
    platform=$("$python" -c 'import sys, platform
print(sys.platform, platform.machine(), platform.libc_ver()[0])')
    case $platform in
        'linux x86_64 glibc' | 'darwin arm64 '*) return ;;
    esac
    command -v micropython >/dev/null ||
        fail "no MicroPython for this platform (${platform% }); build its Unix port" \
            'and put it on PATH as micropython, or name it in MICROPYTHON'
}

# Prints what an installation was made from. If that changes, install again.
fingerprint() {
    pwd -P
    .venv/bin/python -V 2>&1
    cksum pyproject.toml requirements.lock hil/tools/venv.sh
}

works() {
    .venv/bin/python -c 'import sys, pip
sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null
}

install() {
    extra=$1
    stamp=.venv/lenslink-$extra
    # This file exists while pip works, and so marks an interrupted installation.
    unfinished=.venv/lenslink-unfinished
    if [ -x .venv/bin/python ] && [ ! -e "$unfinished" ]; then
        found=$(fingerprint)
        [ -f "$stamp" ] && [ "$found" = "$(cat "$stamp")" ] && return
        # The dev extra contains the demo extra.
        [ "$extra" = demo ] && [ -f .venv/lenslink-dev ] &&
            [ "$found" = "$(cat .venv/lenslink-dev)" ] && return
    fi

    choose_python
    check_micropython
    # Use a .venv that somebody made by hand. Replace one that was moved or is incomplete.
    moved=
    [ -f "$stamp" ] && [ "$(head -n 1 "$stamp")" != "$(pwd -P)" ] && moved=1
    if [ -e "$unfinished" ] || [ -n "$moved" ] || ! works; then
        printf 'Making .venv with %s (%s)\n' "$python" "$("$python" -V)"
        "$python" -m venv --clear .venv || fail 'python -m venv failed (see above)'
    fi
    : >"$unfinished" || fail '.venv cannot be written to'
    printf 'Installing what "%s" needs; the first time takes a minute or two\n' "$extra"
    # These settings of a user would put packages outside .venv.
    unset PIP_USER PIP_TARGET PIP_PREFIX PIP_ROOT
    # Without PEP 517 a pip of 2023 warns about packages that have no pyproject.toml.
    .venv/bin/python -m pip install --quiet --disable-pip-version-check --use-pep517 \
        --constraint requirements.lock --editable ".[$extra]" ||
        fail 'pip could not install what is needed (see above); then run make again'
    rm -f .venv/lenslink-demo .venv/lenslink-dev .venv/lenslink-bench .venv/lenslink-train
    fingerprint >"$stamp"
    rm -f "$unfinished"
    # du, because the size on this disk counts.
    packages=$(.venv/bin/python -c 'from importlib.metadata import distributions
print(len(list(distributions())))')
    printf 'Installed: %s packages, %s MB in .venv\n' \
        "$packages" "$(du -sk .venv | awk '{ printf "%.0f", $1 / 1024 }')"
}

[ -f pyproject.toml ] || fail 'run it from the checkout: sh hil/tools/venv.sh demo'
case ${1:-} in
    demo | dev | bench | train) install "$1" ;;
    python) choose_python && printf '%s\n' "$python" ;;
    *) fail 'usage: sh hil/tools/venv.sh demo|dev|bench|train|python' ;;
esac
