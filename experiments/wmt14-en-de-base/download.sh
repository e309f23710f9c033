#!/usr/bin/env bash
# WMT14 English-German: Europarl v7, Common Crawl and News Commentary v9 (4.5 million pairs), newstest2013 and newstest2014.
#
#   experiments/wmt14-en-de-base/download.sh --output DIR [--archives DIR] [--local DIR]
#
#   --output DIR     receives train, valid and newstest2014, each .en and .de, and counts.json
#   --archives DIR   folder of the archives, which are downloaded unless they are there (default: $WMT_ARCHIVES, else
#                    runs/archives in the project)
#   --local DIR      text to take instead of the archives: train, valid and newstest2014, each .en and .de (default: $LOCAL_DATA)
source "$(dirname "$0")/../../scripts/common.sh"

OUTPUT='' ARCHIVES=${WMT_ARCHIVES:-} LOCAL=${LOCAL_DATA:-}
options "$@"
need --output "$OUTPUT"
ARCHIVES=${ARCHIVES:-$ROOT/runs/archives}

if [[ -n $LOCAL ]]; then
    train=("$LOCAL/train") valid=$LOCAL/valid test=$LOCAL/newstest2014
else
    fetch "$ARCHIVES" 0224c7c710c8a063dfd893b0cc0830202d61f4c75c17eb8e31836103d27d96e7 \
        http://www.statmt.org/wmt13/training-parallel-europarl-v7.tgz
    fetch "$ARCHIVES" c7a74e2ea01ac6c920123108627e35278d4ccb5701e15428ffa34de86fa3a9e5 \
        http://www.statmt.org/wmt13/training-parallel-commoncrawl.tgz
    fetch "$ARCHIVES" cb8953f292298e6877ae433c98912b927cb0766b303f4540512ddd286c748485 \
        http://www.statmt.org/wmt14/training-parallel-nc-v9.tgz
    text=$OUTPUT/extracted
    mkdir -p "$text"
    for archive in europarl-v7 commoncrawl nc-v9; do
        tar -xzf "$ARCHIVES/training-parallel-$archive.tgz" -C "$text" --wildcards --no-anchored '*.de-en.??'
    done
    readarray -t train < <(find "$text" -name '*.de-en.en' | sort)
    train=("${train[@]%.en}")
    wmt_set "$ARCHIVES/sacrebleu" wmt13 en de "$text/newstest2013"
    wmt_set "$ARCHIVES/sacrebleu" wmt14/full en de "$text/newstest2014"
    valid=$text/newstest2013 test=$text/newstest2014
fi
trains=()
for prefix in "${train[@]}"; do trains+=(--train "$prefix"); done
"$ROOT/scripts/clean.sh" "${trains[@]}" --valid "$valid" --test "newstest2014=$test" --source en --target de \
    --output "$OUTPUT"
rm -rf "$OUTPUT/extracted"
