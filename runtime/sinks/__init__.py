"""Predictions out: lines of JSON, a line of text, and pictures (a window, a video) with what was seen drawn in."""
