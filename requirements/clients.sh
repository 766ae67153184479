#!/bin/sh
# Runs the tests that drive the official clients with the two major versions before the locked
# ones, and those with KServe's client, which is too heavy for the lock (450 MB, 69 packages): each
# in a virtual environment that is thrown away and falls back on ours.
set -eu
BIN=${BIN:-.venv/bin}
FOLDER=$(mktemp -d)
trap 'rm -rf "$FOLDER"' EXIT
OURS=$("$BIN/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
FAILED=0

# folder, requirements: makes an environment that has these, and all else of ours
environment() {
  there=$FOLDER/$1
  shift
  "$BIN/python" -m venv --without-pip "$there"
  "$BIN/python" -m pip --python "$there/bin/python" install -q --disable-pip-version-check "$@"
  site=$("$there/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  echo "import site; site.addsitedir('$OURS')" >"$site/ours.pth"
}

for pair in 'openai>=2,<3 anthropic>=1,<2' 'openai>=1,<2 anthropic>=0.100,<1'; do
  # shellcheck disable=SC2086 # two requirements
  environment "$(echo "$pair" | tr -dc 'a-z0-9')" $pair
  "$there/bin/python" -c 'import anthropic, openai
print(f"openai {openai.__version__}, anthropic {anthropic.__version__}")'
  "$there/bin/python" -m pytest -q -p no:cacheprovider "$@" \
    tests/gateway/test_faults.py tests/gateway/test_responses.py tests/gateway/test_translation.py \
    tests/gateway/test_truth.py || FAILED=1
done

environment kserve kserve
"$there/bin/python" -c 'import importlib.metadata
print("kserve", importlib.metadata.version("kserve"))'
"$there/bin/python" -m pytest -q -p no:cacheprovider tests/clients/with_kserve.py || FAILED=1
exit $FAILED
