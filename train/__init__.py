"""The GPU server's side: learn stages of actions from video, keep no video."""
