#!/usr/bin/env bash
# WMT16 English-Romanian: Europarl v8 and SETIMES2 (610 thousand pairs), newsdev2016 and newstest2016.
#
#   experiments/wmt16-en-ro/download.sh --output DIR [--archives DIR] [--local DIR]
#
#   --output DIR     receives train, valid and newstest2016, each .en and .ro, and counts.json
#   --archives DIR   folder of the archives, which are downloaded unless they are there (default: $WMT_ARCHIVES, else
#                    runs/archives in the project)
#   --local DIR      text to take instead of the archives: train, valid and newstest2016, each .en and .ro (default: $LOCAL_DATA)
source "$(dirname "$0")/../../scripts/common.sh"

OUTPUT='' ARCHIVES=${WMT_ARCHIVES:-} LOCAL=${LOCAL_DATA:-}
options "$@"
need --output "$OUTPUT"
ARCHIVES=${ARCHIVES:-$ROOT/runs/archives}

if [[ -n $LOCAL ]]; then
    train=$LOCAL/train valid=$LOCAL/valid test=$LOCAL/newstest2016
else
    fetch "$ARCHIVES" 8917bd3bef3bc894c8519ca1f8a4c7c330aad08a1263655a9d99ee13d532e3c7 \
        http://data.statmt.org/wmt16/translation-task/training-parallel-ep-v8.tgz
    fetch "$ARCHIVES" 56bfaa2a8c8bdfccb7b50cc926067e2291347d807004e81faab8762ddbf26302 \
        https://object.pouta.csc.fi/OPUS-SETIMES/v2/tmx/en-ro.tmx.gz
    fetch "$ARCHIVES" 7a7deccf82ebb05ba508dba5eb21356492224e8f630ec4f992132b029b4b25e7 \
        http://data.statmt.org/wmt19/translation-task/dev.tgz
    text=$OUTPUT/extracted
    mkdir -p "$text"
    tar -xzf "$ARCHIVES/training-parallel-ep-v8.tgz" -C "$text" --wildcards --no-anchored 'europarl-v8.ro-en.*'
    tar -xzf "$ARCHIVES/dev.tgz" -C "$text" --wildcards --no-anchored 'newsdev2016-enro-*' 'newstest2016-enro-*'
    weightdistill read-tmx "$ARCHIVES/en-ro.tmx.gz" --output "$text/setimes" --source en --target ro
    for set in newsdev2016 newstest2016; do
        weightdistill read-sgm "$text/dev/$set-enro-src.en.sgm" "$text/dev/$set-enro-ref.ro.sgm" --output "$text/$set" \
            --source en --target ro
    done
    europarl=$(find "$text" -name europarl-v8.ro-en.en)
    train="${europarl%.en} $text/setimes" valid=$text/newsdev2016 test=$text/newstest2016
fi
"$ROOT/scripts/clean.sh" --train "$train" --valid "$valid" --tests "newstest2016=$test" --source en --target ro \
    --output "$OUTPUT"
rm -rf "$OUTPUT/extracted"
