"""Amazon EC2: machines by the hour, reached by nobody, for they dial out. boto3 is the extra
``aws``, and is imported when EC2 is first asked something."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jupyter_remote.providers.base import Provider
    from jupyter_remote.settings import Settings


def make(settings: Settings, backend_id: str) -> Provider:
    """The provider of the backend with this id (see :mod:`jupyter_remote.providers.identity`)."""
    from jupyter_remote.providers.ec2.provider import Ec2Provider

    return Ec2Provider(settings, backend_id)
