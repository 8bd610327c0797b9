"""Load videos as clips, and divide the classes into stages.

Read in this order: source (a recipe's lists and stages), stages, overlap and list_digests (checks), videos (decoding),
clips (choosing and preprocessing frames), cache (frozen features on disk).
"""
