#!/bin/sh
# Runs the tests that drive the official clients with the two major versions before the locked
# ones, each pair in a virtual environment that is thrown away and falls back on ours.
set -eu
BIN=${BIN:-.venv/bin}
FOLDER=$(mktemp -d)
trap 'rm -rf "$FOLDER"' EXIT
OURS=$("$BIN/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
FAILED=0
for pair in 'openai>=2,<3 anthropic>=1,<2' 'openai>=1,<2 anthropic>=0.100,<1'; do
  there=$FOLDER/$(echo "$pair" | tr -dc 'a-z0-9')
  "$BIN/python" -m venv --without-pip "$there"
  # shellcheck disable=SC2086 # two requirements
  "$BIN/python" -m pip --python "$there/bin/python" install -q --disable-pip-version-check $pair
  site=$("$there/bin/python" -c 'import sysconfig; print(sysconfig.get_path("purelib"))')
  echo "import site; site.addsitedir('$OURS')" >"$site/ours.pth"
  "$there/bin/python" -c 'import anthropic, openai
print(f"openai {openai.__version__}, anthropic {anthropic.__version__}")'
  "$there/bin/python" -m pytest -q -p no:cacheprovider "$@" \
    tests/gateway/test_faults.py tests/gateway/test_responses.py tests/gateway/test_translation.py \
    tests/gateway/test_truth.py || FAILED=1
done
exit $FAILED
