"""Recipes: all settings of a run as msgspec structs. Nothing here imports torch.

Read in this order: recipe (the whole), model and learning (its tables), bounds (value ranges), load (TOML to a recipe),
messages (error messages), automatic (what "auto" resolves to). The shipped recipes are in recipes/.
"""
