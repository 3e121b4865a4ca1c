"""Handles of jobs, and how a displayed one looks."""

from jupyter_remote.client.batch import Batch, BatchProgress
from jupyter_remote.client.job import Job, set_view

__all__ = ["Batch", "BatchProgress", "Job", "set_view"]
