"""Prove that the exported files compute what PyTorch computes.

Read in this order: clips (test clips), reference (PyTorch's outputs), candidate (the files, opened by the device's
engine), measurements (differences), policy (tolerances), certificate (the record), gate (`prove`, which combines
these), departure (the first module that differs, if the proof fails).
"""
