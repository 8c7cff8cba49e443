"""For all tests: threads, what of notebooks is compared, what runs first, what a failure says."""

import os
import re

# One thread for each worker, and for what it starts. A training takes the cores that others leave
# (lib/machine.py), so without this the last digits of its numbers follow what else runs meanwhile.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# Files that take longest begin first: else one is left at the end, and the other cores wait.
LONGEST_FIRST = (
    "03_vit_mae",
    "04_masking",
    "05_few",
    "01_van",
    "02_adv",
    "08_your",
    "test_sweep_faults",
    "test_browser",
    "test_notebooks",
    "test_parallel",
    "07_masks",
    "test_report",
    "test_faults",
    "test_finetune",
    "test_readme",
    "test_sweeps",
)
PATIENCE = 300  # seconds that nbval waits for an output after its cell has ended; its own are 5
# Lines of a report that show values.
ESSENTIAL = re.compile(r"^(E  |\s*[-+?] |\s*mismatch|\w*(Error|Exception|Warning)\b)")
COLOUR = re.compile(r"\x1b\[[0-9;]*m")
SHOWN = 20  # lines of each failure
LONGEST = 300  # signs of a line


def pytest_collectstart(collector):
    """What a kernel writes to stderr (warnings, progress) differs between machines."""
    if hasattr(collector, "skip_compare"):
        collector.skip_compare += ("stderr",)


def rank(item) -> int:
    """A place in the order of running: the longest first, the others as they come."""
    places = [place for place, name in enumerate(LONGEST_FIRST) if name in item.nodeid]
    return places[0] if places else len(LONGEST_FIRST)


def pytest_collection_modifyitems(items):
    """Order the tests; a sort that is stable keeps the cells of a notebook as they stand."""
    items.sort(key=rank)
    for item in items:
        if hasattr(item, "output_timeout"):
            item.output_timeout = PATIENCE


def essential(report) -> list[str]:
    """The lines of a report that show values, or its last ones."""
    lines = COLOUR.sub("", report.longreprtext).strip().splitlines()
    telling = [line.rstrip() for line in lines if ESSENTIAL.match(line)]
    return telling or lines[-5:]


def pytest_terminal_summary(terminalreporter):
    """The last lines name each failing test or cell, with the values that differ."""
    for report in [*terminalreporter.getreports("failed"), *terminalreporter.getreports("error")]:
        terminalreporter.write_line(f"\nFAILED {report.nodeid}", red=True)
        for line in essential(report)[:SHOWN]:
            terminalreporter.write_line(f"    {line[:LONGEST]}")
