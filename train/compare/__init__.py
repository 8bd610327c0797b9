"""Compare variants of one recipe: presets (named rows and groups of rows), jobs (one run per row and seed)."""
