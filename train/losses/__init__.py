"""The paper's losses as functions of tensors: contrast (video against class vectors) and preservation (FSSD)."""
