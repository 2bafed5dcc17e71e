#!/usr/bin/env bash
# scripts/test-matrix.sh [version ...]: the test suite under several Node versions, whose binaries come from npm.
set -euo pipefail
cd "$(dirname "$0")/.."

case "$(uname -s)-$(uname -m)" in
  Linux-x86_64) platform=linux-x64 ;;
  Linux-aarch64) platform=linux-arm64 ;;
  Darwin-arm64) platform=darwin-arm64 ;;
  *) echo "no Node binaries on npm for this machine" >&2; exit 1 ;;
esac

versions=("$@")
[ ${#versions[@]} -gt 0 ] || versions=(20.19 22 24)
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
failed=()

for version in "${versions[@]}"; do
  npm install --silent --no-save --no-audit --no-fund --prefix "$folder/$version" "node-$platform@$version"
  bin="$folder/$version/node_modules/node-$platform/bin"
  echo "== Node $("$bin/node" --version)"
  PATH="$bin:$PATH" "$bin/node" node_modules/vitest/vitest.mjs run || failed+=("$version")
done

[ ${#failed[@]} -eq 0 ] || { echo "failed under Node ${failed[*]}" >&2; exit 1; }
