"""The Open Inference Protocol with Triton's extensions: what clients of Triton call."""
