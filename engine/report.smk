# A rule for each notebook, on embedded images; the page of what they found is made after all.
import time

from engine.notebooks import EXECUTED, all_notebooks, stamp_of

STAMPS = {notebook.stem: stamp_of(notebook) for notebook in all_notebooks()}
FINISH = f"{{PYTHON:q}} -m engine.report {time.time():.0f}"


for NAME, STAMP in STAMPS.items():

    rule:
        name:
            f"notebook_{NAME}"
        output:
            str(STAMP),
        log:
            str(EXECUTED / f"{NAME}.log"),
        threads: max(1, workflow.cores // 4)
        params:
            label=NAME,
            notebook=str(ROOT / "notebooks" / f"{NAME}.ipynb"),
            executed=str(EXECUTED / f"{NAME}.ipynb"),
            made=str(EXECUTED / NAME),
            given=json.dumps({"execution": {"output": str(EXECUTED / NAME)}}),
        shell:
            "rm -rf {params.made:q} && " + GUARDED + " --limit 3600 --label {params.label:q}"
            " --executed {params.executed:q} --"
            " {PAPERMILL:q} {params.notebook:q} {params.executed:q} {QUIET} -y {params.given:q}"
