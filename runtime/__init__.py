"""The device's package: load a bundle, watch a camera, report actions. Never imports torch.

Read in this order: contract (the bundle format), engines (run a graph), model (both graphs of a bundle), sources
(frames), window (the frame features of a span of time), decision (logits to a label), session (one camera), recognizer
(the live loop), filters (process results), sinks (outputs), settings, live, bench (evaluation on videos), cli.
"""
