#!/usr/bin/env bash
# scripts/interop-peers.sh [autobahn|python|go ...]: what the interop tests need beside tools of the system, into .cache/interop.
# autobahn: the Autobahn test suite, with Python 2.7. python: the websockets package, with Python 3.9 or newer. go: Go modules.
set -euo pipefail
cd "$(dirname "$0")/.."

cache=$PWD/.cache/interop
wanted=("$@")
[ ${#wanted[@]} -gt 0 ] || wanted=(autobahn python go)

# The first of the commands that is Python 2.7.
python2_of() {
  local command
  for command in "$@"; do
    "$command" -c 'import sys; sys.exit(sys.version_info[:2] != (2, 7))' 2>/dev/null && { echo "$command"; return; }
  done
  return 1
}

# Whether the folder was made from this list already.
is_made() {
  cmp -s "$1/requirements.txt" "$2"
}

autobahn() {
  local folder=$cache/autobahn list=interop/autobahn/requirements.txt python
  is_made "$folder" "$list" && return
  if ! python=$(python2_of python2.7 python2 "$HOME"/.pyenv/versions/2.7*/bin/python); then
    ! command -v pyenv >/dev/null || pyenv install --skip-existing 2.7.18
    python=$(python2_of "$(pyenv root 2>/dev/null)/versions/2.7.18/bin/python") || {
      echo 'autobahn: expected Python 2.7 with pip, such as pyenv install 2.7.18' >&2
      return 1
    }
  fi
  rm -rf "$folder"
  # A folder of its own in place of the user's: old Pythons have no venv.
  PYTHONUSERBASE=$folder "$python" -m pip install --quiet --disable-pip-version-check --user --ignore-installed --no-warn-script-location -r "$list"
  ln -s "$("$python" -c 'import sys; print(sys.executable)')" "$folder/bin/python"
  cp "$list" "$folder/requirements.txt"
}

python() {
  local folder=$cache/python list=interop/python/requirements.txt
  is_made "$folder" "$list" && return
  rm -rf "$folder"
  python3 -m venv "$folder"
  "$folder/bin/pip" install --quiet --disable-pip-version-check -r "$list"
  cp "$list" "$folder/requirements.txt"
}

go() {
  local file
  while read -r file; do (cd "$(dirname "$file")" && command go mod download); done < <(find interop/go -name go.mod)
}

mkdir -p "$cache"
failed=()
for each in "${wanted[@]}"; do
  # In a process of its own, so that a command that fails ends it.
  ( set -e; "$each" ) & wait $! || failed+=("$each")
done
[ ${#failed[@]} -eq 0 ] || { echo "not installed: ${failed[*]}" >&2; exit 1; }
