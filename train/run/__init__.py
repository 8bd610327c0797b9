"""Train a recipe in a run folder.

Read in this order: protocol (the loop over stages), stage (training one stage), clips (their source), evaluate (the
test), open_set (thresholds for unknown classes), metrics, then execute (a whole run on disk) with prepare, resume and
after_stage, checkpoint and folder (the files of a run).
"""
