"""The model as ONNX graphs over shared weight files.

Read in this order: cut (where the model is cut into graphs), trace (one piece to ONNX nodes; operators and plain say
what is written otherwise than the exporter does), weights (the files of weights), assemble (pieces joined to the three
graphs).
"""
