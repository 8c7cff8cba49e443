"""A progress line for people, silent for machines.

It is drawn in a terminal and in a JupyterLab where somebody is watching; under papermill,
nbval and in logs nothing is printed, so stored outputs stay the same.
"""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator

from lib.training import State, ignore


def watched() -> bool:
    """Whether a person is likely to look: JupyterLab names its session, a terminal is a tty."""
    if "JPY_SESSION_NAME" in os.environ:
        return True
    return "ipykernel" not in sys.modules and sys.stderr.isatty()


@contextlib.contextmanager
def bar(wanted: bool, title: str) -> Iterator[Callable[[State], None]]:
    """A context that gives what shows the state of a training, row by row of its history."""
    if not (wanted and watched()):
        yield ignore
        return
    from tqdm.auto import tqdm  # here: half a second for the processes that nobody watches

    with tqdm(desc=title, unit="step", leave=False) as line:

        def show(state: State) -> None:
            line.total = state.total
            if state.history:
                last = state.history[-1]
                validation = f"{last['validation_loss']:.4f}"
                line.set_postfix(loss=f"{last['loss']:.4f}", validation=validation, refresh=False)
            line.update(state.step - line.n)

        yield show
