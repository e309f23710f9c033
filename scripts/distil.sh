#!/usr/bin/env bash
# Distil your own teacher: from a fairseq checkpoint and raw text to a small student that translates raw text.
#
#   scripts/distil.sh --teacher FILE --train PREFIX --valid PREFIX --test PREFIX --source LANG --target LANG --output DIR [options]
#
#   e.g. scripts/distil.sh --teacher teacher.pt --subwords codes --tokeniser moses --train raw/train --valid raw/valid \
#            --test raw/test --source en --target de --preset tiny --output runs/tiny
#
#   `weightdistill distil --help` lists all options; this script makes the environment first, where there is none.
source "$(dirname "$0")/common.sh"
[[ ${1:-} != --help ]] || { usage; exit 0; }

[[ ! -e $ROOT/scripts/setup.sh ]] || bash "$ROOT/scripts/setup.sh"
exec weightdistill distil "$@"
