"""The device's package: load a bundle, watch a camera, report actions. Never imports torch.

Read in this order: contract (the bundle format), engines (run a graph), model (both graphs of a bundle), sources
(frames), window (the frame features of a span of time), decision (logits to a label), session (one camera), recognizer
(the live loop), filters (process results), sinks (outputs), settings, live, bench (evaluation on videos), cli.
"""

import os

# Since 1.29 onnxruntime reports each session to its makers, with an identifier that it keeps in the home folder. It
# reads this when it is imported, and everything of ours that imports it imports this package first.
os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")
