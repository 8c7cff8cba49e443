"""Claims: sentences of a conclusion that the code asserts.

A claim is about the declared parameters of its notebook. There it must hold, with a
tolerance that another processor also meets, or the notebook fails; under other
parameters nothing is claimed, and that is what is printed. The printed line holds no
trained number, so that nbval can compare it strictly.
"""

from lib.notebook_parameters import NotebookParameters


class Claims:
    """Numbered claims of one notebook."""

    def __init__(self, parameters: NotebookParameters):
        self.declared, self.number = parameters.declared, 0

    def check(self, statement: str, holds: bool, measured: object = "") -> None:
        """Print the verdict on one claim. Raises AssertionError where it fails under the declared parameters."""
        self.number += 1
        if not self.declared:
            print(f"{self.number} not claimed under these parameters: {statement}")
            return
        assert holds, f"claim {self.number} does not hold: {statement} (measured: {measured})"
        print(f"{self.number} holds: {statement}")
