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

# A lock of our own: Snakemake's would outlive a run that was killed.
exec 9> "$OUTPUT/.lock"
flock --nonblock 9 || die "another run is at work in $OUTPUT"

# Snakemake 7 knows no such parts of its output.
quiet=(--quiet host reason)
[[ $(snakemake --version) != 7.* ]] || quiet=()

echo "running experiments/toy in $OUTPUT; each stage writes to $OUTPUT/logs"
snakemake "${quiet[@]}" --rerun-triggers mtime params input --rerun-incomplete --nolock --cores 2 \
    --snakefile "$ROOT/experiments/Snakefile" --configfile "$ROOT/experiments/toy/config.yaml" --directory "$OUTPUT" \
    "$@" \
    || die "a stage failed; its log in $OUTPUT/logs says why"
echo
cat "$OUTPUT/results/table.md"
cat <<END

everything lies in $OUTPUT:
  results/             this table, results.json, and report.html with its pictures
  exported/SYSTEM/     model.pt, which stock fairseq-generate loads, and ctranslate2/
  evaluated/SYSTEM/    translations and scores
  teacher/, students/, phase1/, phase2/   checkpoints; logs/ holds their logs
END
