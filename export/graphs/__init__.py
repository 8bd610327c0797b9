"""The model as ONNX graphs over shared weight files.

Read in this order: cut (how the model is divided into graphs), trace (export one piece to ONNX nodes; operators and
plain replace some of the exporter's output), weights (weight files), assemble (join pieces to the three graphs).
"""
