"""The device side: read a bundle, watch a camera, say what happens. Never imports torch.

Read in this order: contract (what a bundle is), engines (run a graph), sources (frames in), window (the
frame features of a span of time), decision (logits to a label), recognizer (the whole live run), sinks, cli.
"""
