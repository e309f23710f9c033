#!/usr/bin/env bash
# From nothing to a table of teacher and students: makes the environment, then runs the toy experiment on two CPU cores.
#
#   scripts/quickstart.sh [SNAKEMAKE OPTIONS]
#
#   QUICKSTART_DIR   folder that receives everything (default: runs/toy in the project)
#
# Interrupted, it resumes; run again, it repeats nothing. About eight minutes after the installation.
source "$(dirname "$0")/common.sh"
[[ ${1:-} != --help ]] || { usage; exit 0; }

"$ROOT/scripts/setup.sh"
OUTPUT=${QUICKSTART_DIR:-$ROOT/runs/toy}
mkdir -p "$OUTPUT"

echo "running experiments/toy in $OUTPUT; each stage writes to $OUTPUT/logs"
experiment "$OUTPUT" --configfile "$ROOT/experiments/toy/config.yaml" --cores 2 "$@"
echo
cat "$OUTPUT/results/table.md"
cat <<END

everything lies in $OUTPUT:
  results/             this table, results.json, and report.html with its pictures
  exported/SYSTEM/     model.pt, which stock fairseq-generate loads, and ctranslate2/
  evaluated/SYSTEM/    translations and scores
  teacher/, students/, phase1/, phase2/   checkpoints, and train.log with the losses
END
