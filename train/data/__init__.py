"""From listed videos to clips and stages.

Read in this order: source (a recipe's lists and stages), stages, overlap and list_digests (checks), videos (decoding),
clips (frames chosen and preprocessed), cache (frozen features on disk).
"""
