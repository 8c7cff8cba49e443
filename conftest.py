"""For nbval: what a kernel writes to stderr (warnings, progress) differs between machines and is not compared."""


def pytest_collectstart(collector):
    if hasattr(collector, "skip_compare"):
        collector.skip_compare += ("stderr",)
