#!/usr/bin/env bash
# The promise of sweeps, tried out on a profile: bash .ci/drill.sh local|generic|slurm
# In a clone of this checkout (in a temporary folder) it starts the 3 x 3 x 2 sweep `masking`, kills
# everything with SIGKILL in the middle, gives the same command again, adds a value to an axis, and
# says what ran. About ten minutes on two cores; for slurm, `.ci/slurm.sh start` gives a cluster of one node.
set -euo pipefail
profile=${1:?which profile: local, generic or slurm}
here=$(cd "$(dirname "$0")/.." && pwd)
place=$(mktemp -d)/checkout
git clone --quiet "$here" "$place"
ln -s "$here/.venv" "$place/.venv"
cd "$place"
sweep() { PYTHONPATH=$place .venv/bin/python -m engine.sweep masking --profile "$profile" >>"$place/sweep.log" 2>&1; }
finished() { find reports/sweeps/masking/done -name '*.json' 2>/dev/null | wc -l; }
everything() { # all processes of the sweep, kernels too: by the path they were started with
  grep -lz "^PYTHONPATH=$place\$" /proc/[0-9]*/environ 2>/dev/null | cut -d/ -f3 | grep -vx "$$" | grep -vx "$BASHPID" || true
}

sweep &
until [ "$(finished)" -ge 4 ]; do sleep 1; done
everything | xargs -r kill -9 2>/dev/null || true
wait || true
sleep 3
before=$(finished)
echo "$profile: killed everything when $before of 18 runs were done; processes left after a moment: $(everything | wc -l)"
[ "$before" -lt 18 ]

began=$(date +%s)
sweep
echo "$profile: the same command again: $(finished) done after $(($(date +%s) - began)) s more; kept: $before"
[ "$(finished)" -eq 18 ]
oldest=$(find reports/sweeps/masking/done -name '*.json' | sort | xargs sha256sum | sha256sum)
old=$(find reports/sweeps/masking/done -name '*.json' | sort)

sed -i 's/latent: \[8, 32, 128\]/latent: [8, 32, 64, 128]/' sweeps/masking.yaml
sweep
grep -h " to do" sweep.log | tail -1
[ "$(finished)" -eq 24 ] && [ "$(echo "$old" | xargs sha256sum | sha256sum)" = "$oldest" ]
echo "$profile: one value more: 24 done, the 18 of before untouched; $(tail -n +2 reports/sweeps/masking/table.csv | cut -d, -f1 | sort -u | wc -l) records in the table"
rm -rf "$(dirname "$place")"
