#!/bin/sh
# Renews the locks: `make lock`. No host, no URL stands in them.
set -eu
cd "$(dirname "$0")/.."
compile() {
  uv pip compile -q --universal --python-version 3.11 --generate-hashes --no-emit-index-url \
    --no-emit-find-links --no-header --no-annotate "$@"
}
compile pyproject.toml requirements/build.in --extra onnx --extra demo -o requirements/run.txt
compile pyproject.toml requirements/build.in --extra onnx --extra demo --extra postgres --group dev \
  -o requirements/dev.txt
compile requirements/uv.in -o requirements/uv.txt
