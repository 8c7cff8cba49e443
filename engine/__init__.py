"""Many runs: grids of parameters on one machine or a cluster, the report, the published tables.

sweep      a notebook under a grid of parameters: checked, run, gathered in one table
cells      what of a sweep is done, and whether it still holds
snakemake  one engine on one folder of work; started without a sweep it makes the report
notebooks  the executed notebooks behind the report, and how each went
story      what each of them says: its question, answer, picture and conclusion
report     one self-contained page of what they found
publish    tables of committed records, in reports/tables, README and docs/speed.md
rates      at which learning rates runs fine-tune
weights    a run's model made to come with the code; demo: a picture completed by it

Snakefile and report.smk hold the rules, profiles/ says where jobs run, templates/ has the pages,
lab/ how JupyterLab is set.
"""
