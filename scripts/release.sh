#!/usr/bin/env bash
# Make the files of a release from the last commit: wheel, sdist, SBOM (CycloneDX) and checksums. Looks up known vulnerabilities
# first, and tests wheel and sdist in new environments. The whole checklist is in tests/README.md.
#
#   scripts/release.sh [--output DIR] [-- PIP-AUDIT OPTIONS]
#
#   --output DIR       receives the files (default: dist in the project)
#   -- OPTIONS         go to pip-audit, e.g. --ignore-vuln ID
#
#   PYTHON, TORCH, TORCH_INDEX   as in scripts/setup.sh
source "$(dirname "$0")/common.sh"

OUTPUT=$ROOT/dist
options "$@"
"$ROOT/scripts/setup.sh"
cd "$ROOT"
[[ -z $(git status --porcelain) ]] || die "a release is made from a commit, but there are changes; commit them first"

work=$ROOT/runs/release
rm -rf "$work"
mkdir -p "$work/source"
version=$(python -c 'import weightdistill; print(weightdistill.__version__)')
torch=torch==$(python -c 'import torch; print(torch.__version__.partition("+")[0])')
{ sed -n 's/^\([^ #].*\) \\$/\1/p' scripts/requirements.txt; echo "$torch"; } > "$work/versions.txt"

# --strict: what its data do not know is not counted as harmless.
if pip-audit --strict --requirement "$work/versions.txt" --no-deps --disable-pip --progress-spinner off --format json \
    --output "$work/audit.json" "${REST[@]}" 2> "$work/audit.log"; then
    audit="no known vulnerabilities"
elif [[ -s $work/audit.json ]]; then
    cat "$work/audit.log" >&2
    die "there are known vulnerabilities, see $work/audit.json; take newer versions with scripts/lock.sh --upgrade"
else
    audit="KNOWN VULNERABILITIES WERE NOT LOOKED UP, see $work/audit.log: $(tail -n 1 "$work/audit.log")"
fi

git archive HEAD | tar -x -C "$work/source"
SOURCE_DATE_EPOCH=$(git log -1 --format=%ct)
export SOURCE_DATE_EPOCH
python -m build --no-isolation --outdir "$work/built" "$work/source" > "$work/build.log" 2>&1 \
    || die "building failed; see $work/build.log"

# As a user installs it, at the versions that were tested.
PIP_CONSTRAINT=$(python -c 'import pathlib, sys; print(pathlib.Path(sys.argv[1]).as_uri())' "$work/versions.txt")
export PIP_CONSTRAINT PIP_DISABLE_PIP_VERSION_CHECK=1
for kind in wheel sdist; do
    echo "testing the $kind in an environment of its own ..."
    environment=$work/$kind/environment
    python -m venv "$environment"
    cp "$work"/built/*.whl "$work/$kind"
    only=(--only-binary weightdistill)
    [[ $kind == wheel ]] || only=(--no-binary weightdistill)
    env -u PYTHONPATH "$environment/bin/pip" install -qq ${TORCH_INDEX:+--index-url "$TORCH_INDEX"} "$torch"
    env -u PYTHONPATH "$environment/bin/pip" install -qq "${only[@]}" --find-links "$work/built" "weightdistill==$version"
    WEIGHTDISTILL_INSTALLED=$environment/bin/weightdistill python -m pytest -q tests/integration/test_wheel.py
done
unset PIP_CONSTRAINT

mkdir -p "$OUTPUT"
rm -f "$OUTPUT"/weightdistill-* "$OUTPUT/SHA256SUMS"
cp "$work"/built/* "$OUTPUT"
cyclonedx-py environment --output-reproducible --output-file "$OUTPUT/weightdistill-$version.cdx.json" \
    "$work/wheel/environment/bin/python" 2> "$work/sbom.log" || die "no SBOM was made; see $work/sbom.log"
(cd "$OUTPUT" && sha256sum weightdistill-* > SHA256SUMS)
cat "$OUTPUT/SHA256SUMS"
echo "$audit"
