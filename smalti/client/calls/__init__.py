"""Every RPC as a call, one module for each service; both clients send these calls."""

from smalti.client.calls import images, jobs, models

__all__ = ["SERVICES", "images", "jobs", "models"]

SERVICES = (images.SERVICE, jobs.SERVICE, models.SERVICE)
