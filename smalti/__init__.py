"""smalti: small generative image models, drawn as a service."""

__version__ = "0.1.0"
