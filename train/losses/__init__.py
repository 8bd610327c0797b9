"""The paper's losses, each a function of tensors: contrast (video against class vectors), preservation (FSSD)."""
