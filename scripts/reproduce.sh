#!/usr/bin/env bash
# Reproduce one of the paper's tasks, from its data to a table beside the paper's figures.
#
#   scripts/reproduce.sh NAME [options] [-- SNAKEMAKE OPTIONS]
#
#   NAME            wmt16-en-ro, nist12-zh-en, wmt14-en-de-base, wmt14-en-de-big or wmt14-en-de-deep
#   --output DIR    receives everything (default: runs/NAME in the project; with --smoke runs/smoke-NAME, with --data-dir
#                   runs/smoke-NAME-real)
#   --cores N       CPU cores (default: all)
#   --dry-run       print every command, and run none
#   --smoke         the whole recipe in miniature, in minutes on two CPU cores
#   --data-dir DIR  with --smoke: use real text instead of invented languages (experiments/smoke_data.sh)
#   -- ...          options of Snakemake, e.g. -- --executor slurm --jobs 8 --config gpus=8
#
# An interrupted run resumes. `weightdistill plan` says in advance what a run costs (experiments/costs.md). Variables:
#
#   WMT_ARCHIVES    folder of WMT's downloaded archives, which the recipes share (default: runs/archives in the project)
#   LOCAL_DATA      folder of your own text to use instead: train, valid and the test set, with both languages as endings
#   LDC_DIR         folder of your LDC corpora and NIST test sets
#   LDC_TABLES      folder of your own corpora.tsv and sets.tsv
#
# OUTPUT/places remembers them for a resumed run. A variable that is set, even to nothing, takes precedence.
case ${1:-} in '' | -*) NAME='' ;; *) NAME=$1; shift ;; esac
source "$(dirname "$0")/common.sh"

OUTPUT='' CORES=$(nproc) DRY_RUN='' SMOKE='' DATA_DIR=''
options "$@"
[[ -n $NAME ]] || die "name a recipe; see --help"
CONFIG=$ROOT/experiments/$NAME/config.yaml
[[ -e $CONFIG ]] || die "there is no $CONFIG; see --help for the recipes"
grep -q '^paper:' "$CONFIG" || die "$NAME is no recipe of the paper's; its config.yaml begins with the command that runs it"
[[ -z $DATA_DIR || -n $SMOKE ]] || die "--data-dir goes with --smoke"
"$ROOT/scripts/setup.sh"
OUTPUT=${OUTPUT:-$ROOT/runs/${SMOKE:+smoke-}$NAME${DATA_DIR:+-real}}
mkdir -p "$OUTPUT"
OUTPUT=$(cd "$OUTPUT" && pwd)

configs=("$ROOT/experiments/recipe.yaml" "$CONFIG") settings='' dry=() resources=()
if [[ -n $SMOKE ]]; then
    configs=("$ROOT/experiments/recipe.yaml" "$ROOT/experiments/smoke.yaml" "$CONFIG")
    data=$OUTPUT/data${DATA_DIR:+-real}
    if [[ ! -e $data/vocabulary ]]; then
        rm -rf "$data" "$data.writing"
        "$ROOT/experiments/smoke_data.sh" --recipe "$NAME" --output "$data.writing" ${DATA_DIR:+--data-dir "$DATA_DIR"}
        mv "$data.writing" "$data"
    fi
    settings+="vocabulary: $(< "$data/vocabulary")"$'\n'
    export LOCAL_DATA=$data LDC_DIR=$data LDC_TABLES=$data
fi
if [[ -z $SMOKE && -e $OUTPUT/places ]]; then
    while IFS= read -r line; do
        variable=${line%%=*}
        [[ -n ${!variable+set} ]] || export "$variable=${line#*=}"
    done < "$OUTPUT/places"
fi
places=''
for variable in LDC_DIR LDC_TABLES LOCAL_DATA WMT_ARCHIVES; do
    [[ -n ${!variable:-} ]] || { unset "$variable"; continue; }
    place=$(realpath --canonicalize-missing "${!variable}")  # the stages run in the output folder
    export "$variable=$place"
    places+="$variable=$place"$'\n'
done
# Every training takes all GPUs, so one runs at a time; without GPUs as many as there are cores.
gpus=$(python -c 'import torch; print(torch.cuda.device_count())')
if [[ $gpus -gt 0 ]]; then
    gpus=$((${NODES:-1} * gpus))
    settings+="gpus: $gpus"$'\n'
    resources=(--resources "gpu=$gpus")
fi
# In a file, since a --config behind the -- takes the place of any other.
echo "${settings:-"{}"}" > "$OUTPUT/settings.yaml"
[[ -z $DRY_RUN ]] || dry=(--dry-run --printshellcmds)
[[ -n $SMOKE || -n $DRY_RUN ]] || printf %s "$places" > "$OUTPUT/places"
experiment "$OUTPUT" "${dry[@]}" --configfile "${configs[@]}" "$OUTPUT/settings.yaml" "${resources[@]}" --cores "$CORES" \
    "${REST[@]}"
[[ -n $DRY_RUN || ! -e $OUTPUT/results/table.md ]] || cat "$OUTPUT/results/table.md"
