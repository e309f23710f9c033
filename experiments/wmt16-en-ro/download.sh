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
    train=("$LOCAL/train") valid=$LOCAL/valid test=$LOCAL/newstest2016
else
    fetch "$ARCHIVES" 8917bd3bef3bc894c8519ca1f8a4c7c330aad08a1263655a9d99ee13d532e3c7 \
        http://data.statmt.org/wmt16/translation-task/training-parallel-ep-v8.tgz
    fetch "$ARCHIVES" 56bfaa2a8c8bdfccb7b50cc926067e2291347d807004e81faab8762ddbf26302 \
        https://object.pouta.csc.fi/OPUS-SETIMES/v2/tmx/en-ro.tmx.gz
    text=$OUTPUT/extracted
    mkdir -p "$text"
    tar -xzf "$ARCHIVES/training-parallel-ep-v8.tgz" -C "$text" --wildcards --no-anchored 'europarl-v8.ro-en.*'
    weightdistill read-tmx "$ARCHIVES/en-ro.tmx.gz" --output "$text/setimes" --source en --target ro
    wmt_set "$ARCHIVES/sacrebleu" wmt16/dev en ro "$text/newsdev2016"
    wmt_set "$ARCHIVES/sacrebleu" wmt16 en ro "$text/newstest2016"
    europarl=$(find "$text" -name europarl-v8.ro-en.en)
    train=("${europarl%.en}" "$text/setimes") valid=$text/newsdev2016 test=$text/newstest2016
fi
trains=()
for prefix in "${train[@]}"; do trains+=(--train "$prefix"); done
"$ROOT/scripts/clean.sh" "${trains[@]}" --valid "$valid" --test "newstest2016=$test" --source en --target ro \
    --output "$OUTPUT"
rm -rf "$OUTPUT/extracted"
