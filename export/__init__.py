"""Exports checkpoints to ONNX: `python -m export CHECKPOINT`."""
