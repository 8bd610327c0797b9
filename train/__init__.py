"""The GPU server's side: learn stages of actions from video, keep no video.

Read in this order: config (what a recipe says), data (videos in), model (the network), losses, methods (what a
stage changes), learner (the gradient steps of one stage), protocol (the loop over stages), metrics, checkpoint,
report, cli.
"""
