"""Estimate what a run will cost, and audit what a finished run stores. Nothing is trained here.

Read in this order: network (the recipe's, or a substitute of the same form), work (decodes, frames and steps, counted
by driving the real protocol), preparation (work before the first stage), cost (seconds per unit, measured here),
dry_run (everything known before a run), footprint (bytes that the settings imply), audit (bytes found in a run).
"""
