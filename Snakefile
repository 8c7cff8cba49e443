"""The study as a graph: notebooks -> records -> figures -> page (the default target), and sweeps.

`make report` and `make sweep SWEEP=NAME` start it (see lib/engine.py). Every job is a
papermill command on a leash (lib/leash.py). Records and executed notebooks are never
declared as outputs, since Snakemake deletes an output before it runs a rule: a rule's
output is a stamp, named by a key of what decides the result. Notebooks are not declared
as inputs either: Snakemake would compare dates, which mean nothing in a fresh clone and
fail where a clock has jumped.
"""

import json
import sys
from pathlib import Path

ROOT = Path(workflow.basedir)
QUIET = "--no-progress-bar --log-level ERROR --start-timeout 300"
PYTHON, PAPERMILL = sys.executable, str(Path(sys.executable).with_name("papermill"))
LEASH = str(ROOT / "lib" / "leash.py")

if "plan" in config:

    PLAN = json.loads(Path(config["plan"]).read_text())
    CELLS = PLAN["cells"]
    FINISH = f"{{PYTHON:q}} -m lib.sweeps --table {PLAN['name']}"

    rule sweep:
        input:
            expand("done/{key}.json", key=CELLS),

    rule cell:
        output:
            "done/{key}.json",
        threads: PLAN["threads"]
        resources:
            mem_mb=PLAN["memory_mb"],
            runtime=int(PLAN["limit_minutes"]) + 2,
        params:
            notebook=PLAN["notebook"],
            limit=PLAN["limit_minutes"] * 60,
            label=lambda wildcards: CELLS[wildcards.key]["label"],
            executed=lambda wildcards: f"notebooks/{CELLS[wildcards.key]['name']}.ipynb",
        shell:
            "mkdir -p notebooks && exec {PYTHON:q} {LEASH:q} --parent $PPID --limit {params.limit} --threads {threads} --done {output:q}"
            " --log logs/{wildcards.key}.log --label {params.label:q} --"
            " {PAPERMILL:q} {params.notebook:q} {params.executed:q} -f cells/{wildcards.key}.yaml {QUIET}"

else:

    include: "lib/report.smk"

    rule report:  # without an output: the page is written anew each time, in a second
        input:
            [str(stamp) for stamp in STAMPS.values()],
        shell:
            "exec {PYTHON:q} -m lib.report"


onsuccess:
    if "plan" in config:
        shell(FINISH)


onerror:
    shell(FINISH)
