"""The GPU server's side: learn stages of actions from video, keep no video.

One package per room, each importing only those before it in this order, which is also an order to read them in:
datasets (lists of videos), settings (recipes), data (decoding, clips, stages), model (the network) and losses, learning
(the gradient steps of one stage), methods (what a stage changes), run (the loop over stages, its metrics and files),
estimate (dry run and audit), compare (several runs side by side), report (pages and figures), cli.
"""
