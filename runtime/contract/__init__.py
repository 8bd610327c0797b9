"""What training, export and the device agree on; the reader owns it, and it imports nothing heavier than OpenCV.

Read in this order: errors, sampling (which frames), preprocess (what becomes of one frame), manifest (what a
bundle says of itself), bundle (a folder whose every byte is checked). durable is how any of us writes a file or folder;
names is how libraries open what has an odd name; command is what the command lines have in common.
"""
