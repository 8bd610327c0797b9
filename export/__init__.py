"""Turn a stage checkpoint with all its experts into a bundle, and prove that it does the same."""
