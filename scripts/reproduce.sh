#!/usr/bin/env bash
# One of the paper's tasks from its data to the table beside the paper's figures.
#
#   scripts/reproduce.sh NAME [options] [-- SNAKEMAKE OPTIONS]
#
#   NAME            wmt16-en-ro, nist12-zh-en, wmt14-en-de-base, wmt14-en-de-big or wmt14-en-de-deep
#   --output DIR    receives everything (default: runs/NAME in the project; with --smoke runs/smoke-NAME)
#   --cores N       CPU cores (default: all)
#   --dry-run       print every command, and run none
#   --smoke         the whole recipe in miniature, in minutes on two CPU cores
#   --data-dir DIR  with --smoke: real text to take instead of invented languages (experiments/smoke_data.sh)
#
# Interrupted, it resumes. `weightdistill plan NAME` says before what it costs. Data come from the public addresses, or, for
# NIST, from LDC_DIR; WMT_ARCHIVES names a folder of archives that are there already. On a cluster, snakemake options such as
# `--executor slurm` distribute the stages.
case ${1:-} in '' | -*) NAME='' ;; *) NAME=$1; shift ;; esac
source "$(dirname "$0")/common.sh"

OUTPUT='' CORES=$(nproc) DRY_RUN='' SMOKE='' DATA_DIR=''
options "$@"
[[ -n $NAME ]] || die "name a recipe; see --help"
CONFIG=$ROOT/experiments/$NAME/config.yaml
[[ -e $CONFIG ]] || die "there is no $CONFIG; see --help for the recipes"
[[ -z $DATA_DIR || -n $SMOKE ]] || die "--data-dir goes with --smoke"
"$ROOT/scripts/setup.sh"
OUTPUT=${OUTPUT:-$ROOT/runs/${SMOKE:+smoke-}$NAME}
mkdir -p "$OUTPUT"
OUTPUT=$(cd "$OUTPUT" && pwd)

configs=("$ROOT/experiments/recipe.yaml" "$CONFIG") settings=() dry=() quiet=(--quiet host reason)
if [[ -n $SMOKE ]]; then
    configs=("$ROOT/experiments/recipe.yaml" "$ROOT/experiments/smoke.yaml" "$CONFIG")
    [[ -e $OUTPUT/data/vocabulary ]] || "$ROOT/experiments/smoke_data.sh" --recipe "$NAME" --output "$OUTPUT/data" \
        ${DATA_DIR:+--data-dir "$DATA_DIR"}
    settings=(--config "vocabulary=$(< "$OUTPUT/data/vocabulary")")
    export LOCAL_DATA=$OUTPUT/data LDC_DIR=$OUTPUT/data LDC_TABLES=$OUTPUT/data
fi
[[ $(snakemake --version) != 7.* ]] || quiet=()  # which knows no such parts of its output
[[ -z $DRY_RUN ]] || { dry=(--dry-run --printshellcmds) quiet=(--quiet host); }

exec 9> "$OUTPUT/.lock"
flock --nonblock 9 || die "another run is at work in $OUTPUT"
snakemake "${quiet[@]}" "${dry[@]}" --rerun-triggers mtime params input --rerun-incomplete --nolock --cores "$CORES" \
    --snakefile "$ROOT/experiments/Snakefile" --configfile "${configs[@]}" "${settings[@]}" --directory "$OUTPUT" \
    "${REST[@]}" || die "a stage failed; its log in $OUTPUT/logs says why"
[[ -n $DRY_RUN ]] || cat "$OUTPUT/results/table.md"
