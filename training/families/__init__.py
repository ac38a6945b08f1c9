"""The families of models that can be trained, and what they share."""
