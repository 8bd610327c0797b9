"""What a run will cost and what it keeps: nothing is learnt here.

Read in this order: network (the recipe's, or what stands in for it), work (how much, counted by driving the real
protocol), beside (what no stage does), cost (seconds, measured on this machine), dry_run (all that is known before a
run), footprint (bytes by the settings alone), audit (bytes as found in a run).
"""
