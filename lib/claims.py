"""Claims: sentences of a conclusion that the code asserts.

A claim is a number and the bounds it must keep. It is about the declared parameters of
its notebook: there it must hold, with a tolerance that another processor also meets,
or the notebook fails; under other parameters nothing is claimed, and that is what is
printed. The printed line holds no trained number, so that nbval can compare it
strictly. How much room each claim has is what `make steady` measures: it names a file
in CLAIMS_LEDGER, where every number is noted and nothing fails.
"""

import json
import os
from numbers import Real
from pathlib import Path

from lib.notebook_parameters import NotebookParameters

LEDGER = "CLAIMS_LEDGER"  # the environment variable that names the file


class Claims:
    """Numbered claims of one notebook."""

    def __init__(self, parameters: NotebookParameters):
        self.declared, self.number = parameters.declared, 0

    def check(self, statement: str, value: Real, *, above: Real | None = None, below: Real | None = None) -> None:
        """Print the verdict on one claim: `value` lies strictly between the bounds that are given.

        Raises AssertionError where it does not under the declared parameters, ValueError without a bound.
        """
        if above is None and below is None:
            raise ValueError(f"{statement!r} claims nothing: give a bound, above=... or below=...")
        self.number += 1
        value = float(value)
        holds = (above is None or value > above) and (below is None or value < below)
        if os.environ.get(LEDGER):
            about = {"claim": self.number, "statement": statement, "value": value, "above": above, "below": below}
            with Path(os.environ[LEDGER]).open("a") as ledger:
                ledger.write(json.dumps(about) + "\n")
        elif self.declared and not holds:
            bounds = [f"{word} {bound:g}" for word, bound in (("above", above), ("below", below)) if bound is not None]
            raise AssertionError(f"claim {self.number} does not hold: {statement} (measured {value:.4g}, claimed {' and '.join(bounds)})")
        verdict = "not claimed under these parameters" if not self.declared else "holds" if holds else "does NOT hold"
        print(f"{self.number} {verdict}: {statement}")
