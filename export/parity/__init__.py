"""The proof that exported files do what PyTorch does.

Read in this order: clips (what it is proved on), reference (PyTorch's answers), candidate (the files, opened by the
device's engine), measurements (how far apart they are), policy (what is allowed), certificate (what is written of
it), gate (`prove`: all of them together), departure (where what it refuses departs first).
"""
