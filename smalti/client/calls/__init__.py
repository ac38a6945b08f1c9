"""Every RPC as a call, one module for each service; both clients send these calls."""

from smalti.client.calls import admin, images, jobs, models

__all__ = ["SERVICES", "admin", "images", "jobs", "models"]

SERVICES = (images.SERVICE, jobs.SERVICE, models.SERVICE, admin.SERVICE)
