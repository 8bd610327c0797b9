"""Recipes: every setting of a run as msgspec structs. Nothing here imports torch.

Read in this order: recipe (the whole), model and learning (its tables), bounds, load (TOML to a recipe), messages (what
is wrong with one). The recipes that come with stpr are in recipes/.
"""
