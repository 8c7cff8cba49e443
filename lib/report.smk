# The default target: the notebooks on embedded images, then one page of what they found.
from lib.notebooks import EXECUTED, all_notebooks, stamp_of

STAMPS = {notebook.stem: stamp_of(notebook) for notebook in all_notebooks()}
FINISH = "{PYTHON:q} -m lib.report"


for NAME, STAMP in STAMPS.items():

    rule:
        name:
            f"notebook_{NAME}"
        output:
            str(STAMP),
        threads: max(1, workflow.cores // 4)
        params:
            label=NAME,
            notebook=str(ROOT / "notebooks" / f"{NAME}.ipynb"),
            executed=str(EXECUTED / f"{NAME}.ipynb"),
            made=str(EXECUTED / NAME),
            log=str(EXECUTED / f"{NAME}.log"),
        shell:
            "rm -rf {params.made:q} && exec {PYTHON:q} {LEASH:q} --parent $PPID --limit 3600 --threads {threads} --done {output:q}"
            " --log {params.log:q} --label {params.label} --"
            " {PAPERMILL:q} {params.notebook:q} {params.executed:q} {QUIET} -r output {params.made:q}"
