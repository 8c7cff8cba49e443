"""How far a training is, for people; silent for machines.

A line in a terminal; a view with losses and pictures in a JupyterLab where somebody is watching
(lib/run/live.py). Under papermill, nbval and in logs nothing is shown, so stored outputs stay the
same.
"""

import contextlib
import os
import sys
from collections.abc import Callable, Iterator

from lib.shapes import Bytes, Mask
from lib.training import State, ignore

Show = Callable[[State], None]
Sample = tuple[Bytes, Mask]  # images on which a model is watched, and what is hidden of them


def in_jupyter() -> bool:
    """Whether a person looks at this kernel: a server names its sessions."""
    return "JPY_SESSION_NAME" in os.environ


def in_terminal() -> bool:
    """Whether a person looks at this process."""
    return "ipykernel" not in sys.modules and sys.stderr.isatty()


@contextlib.contextmanager
def shown(
    wanted: bool, title: str, sample: Callable[[], Sample | None] = lambda: None
) -> Iterator[Show]:
    """A context that gives what shows the state of a training.

    sample   gives what the model is watched on; called where there are eyes for pictures
    """
    if wanted and in_jupyter():
        from lib.run.live import LiveView  # here: pictures cost a second where nobody watches

        view = LiveView(title, sample())
        try:
            yield view
        finally:
            view.close()
    elif wanted and in_terminal():
        yield from line(title)
    else:
        yield ignore


def line(title: str) -> Iterator[Show]:
    """A line in a terminal."""
    from tqdm import tqdm  # here: for the processes that nobody watches

    with tqdm(desc=title, unit="step", leave=False) as drawn:

        def show(state: State) -> None:
            drawn.total = state.total
            if state.history:
                last = state.history[-1]
                validation = f"{last['validation_loss']:.4f}"
                drawn.set_postfix(loss=f"{last['loss']:.4f}", validation=validation, refresh=False)
            drawn.update(state.step - drawn.n)

        yield show
