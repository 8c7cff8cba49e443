"""Claims: sentences of a conclusion that the code asserts.

A claim is a number and the bounds it must keep. It is about the declared parameters of its
notebook: there it must hold, with a tolerance that another processor also meets, or the
notebook fails; under other parameters nothing is claimed, and that is what is printed. For
which parameters the claims were made is said by a digest beside them, since the parameters
cell is for readers to edit.

The printed verdict holds no trained number, so that nbval can compare it strictly. The numbers
and their room to the bounds are given by `room`, for a cell that is not compared, and are
written to claims/SCALE/NOTEBOOK.json for the report. How much room each claim has over seeds
and machines is what `make steady` measures: under CLAIMS_NEVER_FAIL nothing fails.
"""

import os
from numbers import Real
from pathlib import Path
from typing import Any

import pandas as pd

from lib.files import resolve, write_json
from lib.run.parameters import Parameters

NEVER_FAIL = "CLAIMS_NEVER_FAIL"  # the environment variable


class Claims:
    """Numbered claims of one notebook, made for the parameters that `digest` stands for."""

    def __init__(self, parameters: Parameters, digest: str):
        self.declared = parameters.digest == digest
        self.made: list[dict[str, Any]] = []
        execution = parameters.execution()
        self.file = file_of(execution.output, execution.scale, parameters.notebook)

    def check(
        self,
        statement: str,
        value: Real,
        *,
        above: Real | None = None,
        below: Real | None = None,
    ) -> None:
        """Print the verdict on one claim: `value` lies strictly between the bounds given.

        Raises AssertionError where it does not under the declared parameters, ValueError
        without a bound.
        """
        if above is None and below is None:
            raise ValueError(f"{statement!r} claims nothing: give a bound, above= or below=")
        value = float(value)
        holds = (above is None or value > above) and (below is None or value < below)
        claim = {"claim": len(self.made) + 1, "statement": statement, "value": value}
        claim |= {"above": above, "below": below, "holds": holds, "declared": self.declared}
        self.made.append(claim)
        write_json(self.file, self.made)
        if self.declared and not holds and not os.environ.get(NEVER_FAIL):
            raise AssertionError(
                f"claim {claim['claim']} does not hold: {statement} "
                f"(measured {value:.4g}, claimed {bounds(claim)})"
            )
        if self.declared:
            print(f"{claim['claim']} {'holds' if holds else 'does NOT hold'}: {statement}")
        elif len(self.made) == 1:
            print("Nothing is claimed under these parameters; what they gave stands below.")

    def room(self) -> pd.DataFrame:
        """A row for each claim: what was measured, its bounds, and the room between; under other
        parameters than declared, what was measured and what is claimed elsewhere.
        """
        if self.declared:
            return table(self.made)
        found = table(self.made).drop(columns="room")
        found.insert(0, "of the declared parameters", [claim["statement"] for claim in self.made])
        return found


def table(made: list[dict[str, Any]]) -> pd.DataFrame:
    """Claims with what was measured, their bounds, and the distance to the nearest one."""
    rows = [
        {
            "claim": claim["claim"],
            "measured": float(f"{claim['value']:.4g}"),
            "claimed": bounds(claim),
            "room": float(f"{room(claim):.3g}"),
        }
        for claim in made
    ]
    return pd.DataFrame(rows, columns=["claim", "measured", "claimed", "room"]).set_index("claim")


def room(claim: dict[str, Any]) -> float:
    """Distance to the nearest bound, negative beyond it."""
    distances = []
    if claim["above"] is not None:
        distances.append(claim["value"] - claim["above"])
    if claim["below"] is not None:
        distances.append(claim["below"] - claim["value"])
    return min(distances)


def bounds(claim: dict[str, Any]) -> str:
    """The bounds in words."""
    words = [f"{word} {claim[word]:g}" for word in ("above", "below") if claim[word] is not None]
    return " and ".join(words)


def file_of(output: str | Path, scale: str, notebook: str) -> Path:
    """Where a notebook's claims are kept."""
    return resolve(output) / "claims" / scale / f"{notebook}.json"
