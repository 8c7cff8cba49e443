"""How far a training is, for people; silent for machines.

A bar in a terminal; a view with losses and pictures in a JupyterLab where somebody is watching
(lib/run/live.py). Where nobody is, a run that keeps its record leaves a line a validation, for
logs; a quick one nothing, so that stored outputs stay the same.
"""

import contextlib
import os
import sys
import time
from collections.abc import Callable, Collection, Iterator
from typing import TypeVar

from lib.shapes import Bytes, Mask
from lib.training import State, ignore

Item = TypeVar("Item")
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
    wanted: bool,
    title: str,
    sample: Callable[[], Sample | None] = lambda: None,
    logged: bool = False,
) -> Iterator[Show]:
    """A context that gives what shows the state of a training.

    sample   gives what the model is watched on; called where there are eyes for pictures
    logged   whether lines are printed where nobody looks
    """
    if wanted and in_jupyter():
        from lib.run.live import LiveView  # here: pictures cost a second where nobody watches

        view = LiveView(title, sample())
        try:
            yield view
        finally:
            view.close()
    elif wanted and in_terminal():
        yield from bar(title)
    elif wanted and logged:
        yield lines(title)
    else:
        yield ignore


def each(items: Collection[Item], wanted: bool, title: str) -> Iterator[Item]:
    """The items one after the other, where somebody looks with how many are done."""
    if wanted and in_jupyter():
        from lib.run.live import counted

        yield from counted(items, title)
    elif wanted and in_terminal():
        from tqdm import tqdm

        yield from tqdm(items, desc=title, leave=False)
    else:
        yield from items


def bar(title: str) -> Iterator[Show]:
    """A bar in a terminal."""
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


def lines(title: str) -> Show:
    """A line a validation, for a log."""
    began, told = time.monotonic(), 0

    def show(state: State) -> None:
        nonlocal told
        if not state.history or state.history[-1]["step"] == told:
            return
        last = state.history[-1]
        told = last["step"]
        losses = f"loss {last['loss']:.4f}, validation loss {last['validation_loss']:.4f}"
        seconds = time.monotonic() - began
        print(f"{title}: step {told} of {state.total}, {losses}, {seconds:.0f} s", flush=True)

    return show
