"""The contract between training, export and the device. It imports nothing heavier than OpenCV.

Read in this order: errors, sampling (which frames make a clip), preprocess (one frame), manifest (the description of a
bundle), bundle (a folder whose every byte is checked). durable writes files and folders atomically; names opens files
with unusual names; command is the common part of the command lines.
"""
