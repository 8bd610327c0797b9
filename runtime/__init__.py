"""The device side: read a bundle, watch a camera, say what happens. Never imports torch.

Read in this order: contract (what a bundle is), engines (run a graph), model (both graphs of a bundle), sources (frames
in), window (the frame features of a span of time), decision (logits to a label), session (one camera), recognizer (the
live run), filters (what becomes of a result), sinks (where it goes), settings, live, bench (annotated videos), cli.
"""
