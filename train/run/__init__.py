"""A recipe learnt in a run folder.

Read in this order: protocol (the loop over stages), stage (one stage and its threshold), clips, evaluate (the test),
open_set (known or unknown), metrics, then execute (all of it on disk) with prepare, resume and after_stage, checkpoint
and folder (the files of a run).
"""
