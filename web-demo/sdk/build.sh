#!/bin/sh
# Makes what is derived from the modules of this folder: one classic script of the library, one of the WebRTCAPI stand-in, and the
# TypeScript declarations. Its results are in the repository, so that nobody needs this to run or to use roomcast; a test
# (tests/chrome/sdk.test.mjs) fails when they are out of date. usage: web-demo/sdk/build.sh [output folder]
set -eu
cd "$(dirname "$0")"
out=${1:-.}
tools=../../tests/chrome/node_modules/.bin
[ -x "$tools/esbuild" ] || (cd ../../tests/chrome && npm ci --no-audit --no-fund)
esbuild() { "$tools/esbuild" --bundle --format=iife --target=es2022 --charset=utf8 --log-level=warning "$@"; }
esbuild roomcast.js --global-name=roomcast --banner:js='/* roomcast, https://github.com/roomcast/roomcast, Apache-2.0. Made by build.sh. */' --outfile="$out/dist/roomcast.js"
esbuild webrtcapi.js --banner:js='/* WebRTCAPI 2.6 over roomcast, https://github.com/roomcast/roomcast, Apache-2.0. Made by build.sh. */' --outfile="$out/dist/WebRTCAPI.js"
rm -rf "$out/types"
"$tools/tsc" -p tsconfig.json --outDir "$out/types"
