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
    train=$LOCAL/train valid=$LOCAL/valid test=$LOCAL/newstest2014
else
    fetch "$ARCHIVES" 0224c7c710c8a063dfd893b0cc0830202d61f4c75c17eb8e31836103d27d96e7 \
        http://www.statmt.org/wmt13/training-parallel-europarl-v7.tgz
    fetch "$ARCHIVES" c7a74e2ea01ac6c920123108627e35278d4ccb5701e15428ffa34de86fa3a9e5 \
        http://www.statmt.org/wmt13/training-parallel-commoncrawl.tgz
    fetch "$ARCHIVES" cb8953f292298e6877ae433c98912b927cb0766b303f4540512ddd286c748485 \
        http://www.statmt.org/wmt14/training-parallel-nc-v9.tgz
    fetch "$ARCHIVES" 7a7deccf82ebb05ba508dba5eb21356492224e8f630ec4f992132b029b4b25e7 \
        http://data.statmt.org/wmt19/translation-task/dev.tgz
    text=$OUTPUT/extracted
    mkdir -p "$text"
    train=''
    for archive in europarl-v7 commoncrawl nc-v9; do
        tar -xzf "$ARCHIVES/training-parallel-$archive.tgz" -C "$text" --wildcards --no-anchored '*.de-en.??'
    done
    for file in $(find "$text" -name '*.de-en.en' | sort); do train+="${file%.en} "; done
    tar -xzf "$ARCHIVES/dev.tgz" -C "$text" --wildcards --no-anchored 'newstest2013.??' 'newstest2014-deen-*'
    # The 3,003 sentences of 2014 are the same in both directions.
    weightdistill read-sgm "$text/dev/newstest2014-deen-src.de.sgm" "$text/dev/newstest2014-deen-ref.en.sgm" \
        --output "$text/newstest2014" --source de --target en
    valid=$text/dev/newstest2013 test=$text/newstest2014
fi
"$ROOT/scripts/clean.sh" --train "$train" --valid "$valid" --tests "newstest2014=$test" --source en --target de \
    --output "$OUTPUT"
rm -rf "$OUTPUT/extracted"
