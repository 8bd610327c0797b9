"""The model as ONNX graphs over shared weight files.

Read in this order: cut (where the model is cut into graphs), trace (one piece to ONNX nodes), weights (the files of
weights), assemble (pieces joined to the three graphs).
"""
