"""For all tests: what is compared in notebooks, what is run first, and what is said last of a failure."""

import re

# Files that take longest begin first: else one of them is left at the end, and the other cores wait.
LONGEST_FIRST = (
    "test_sweep_faults",
    "04_masking",
    "03_vit_mae",
    "05_few_labels",
    "02_adv",
    "01_van",
    "test_report",
    "test_parallel",
    "test_faults",
)
PATIENCE = 300  # seconds that nbval waits for an output after its cell has ended, where its own choice is 5
ESSENTIAL = re.compile(r"^(E  |\s*[-+?] |\s*mismatch|\w*(Error|Exception|Warning)\b)")  # lines of a report that show values


def pytest_collectstart(collector):
    """What a kernel writes to stderr (warnings, progress) differs between machines and is not compared."""
    if hasattr(collector, "skip_compare"):
        collector.skip_compare += ("stderr",)


def pytest_collection_modifyitems(items):
    def rank(item) -> int:
        return next((place for place, name in enumerate(LONGEST_FIRST) if name in item.nodeid), len(LONGEST_FIRST))

    items.sort(key=rank)  # stable: cells of a notebook stay in order
    for item in items:
        if hasattr(item, "output_timeout"):
            item.output_timeout = PATIENCE


def pytest_terminal_summary(terminalreporter):
    """The last lines name each failing test or cell, with the values that differ."""
    for report in [*terminalreporter.getreports("failed"), *terminalreporter.getreports("error")]:
        text = re.sub(r"\x1b\[[0-9;]*m", "", report.longreprtext)
        lines = [line.rstrip() for line in text.splitlines() if ESSENTIAL.match(line)] or text.strip().splitlines()[-5:]
        terminalreporter.write_line(f"\nFAILED {report.nodeid}", red=True)
        for line in lines[:20]:
            terminalreporter.write_line(f"    {line[:300]}")
