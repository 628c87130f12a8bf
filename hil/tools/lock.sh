#!/bin/sh
# Writes requirements.lock: one version of each package for every supported Python and platform.
# The file is used as constraints only. It names no package index, so pip asks the user's own.

set -eu

python=$(sh hil/tools/venv.sh python)
scratch=$(mktemp -d)
trap 'rm -rf "$scratch"' EXIT
"$python" -m venv "$scratch/uv"
"$scratch/uv/bin/python" -m pip install --quiet --disable-pip-version-check uv
"$scratch/uv/bin/uv" pip compile pyproject.toml --extra dev --extra bench --extra labgrid --universal \
    --python-version 3.11 --upgrade --strip-extras --no-emit-index-url --no-emit-find-links --no-emit-package lenslink \
    --custom-compile-command 'make lock' --quiet --output-file "$scratch/requirements.lock"
cp "$scratch/requirements.lock" requirements.lock
