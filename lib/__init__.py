"""The study: a reader needs nothing else to follow the notebooks (docs/map.md lists the files).

`lib.run` makes one record of one experiment, `engine` makes many. Neither is known here.
Two conventions hold everywhere: `mask` is boolean with True = hidden, and randomness is
an argument (a `torch.Generator`, see streams); nothing here seeds globally.
"""
