"""Several runs of one recipe side by side: presets (rows and groups by name), jobs (rows times seeds)."""
