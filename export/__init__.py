"""Turn a stage checkpoint with all its experts into a bundle, and prove that it does the same.

graphs/ (the model as ONNX), parity/ (the proof), package/ (the bundle), console (what is printed), cli.
"""
