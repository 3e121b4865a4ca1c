"""What a client asks of the cache, and tells of it. What makes keys is imported when first used."""

from __future__ import annotations

import warnings
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from jupyter_remote.client.origin import NOT_ASKED, Question
from jupyter_remote.wire import CacheCleared, CacheReply, JobSpec

if TYPE_CHECKING:
    from jupyter_remote.client.capture import CapturedCall
    from jupyter_remote.client.context import Context
    from jupyter_remote.client.files import CapturedFile
    from jupyter_remote.client.options import Options


class Kept:
    """Results that the user of a client keeps."""

    _context: Context
    namespace: dict[str, Any]
    options: Options

    def cache_stats(self) -> CacheReply:
        """Hits, misses, what they saved, and the newest entries."""
        return self._context.link.call("GET", "/v1/cache", reply=CacheReply)

    def clear_cache(self, which: str = "") -> CacheCleared:
        """Drop kept results: of a function or cell by its name, of a job by its id or the beginning
        of it; without either, all."""
        params = {"which": which} if which else {"all": True}
        return self._context.link.call("DELETE", "/v1/cache", reply=CacheCleared, params=params)

    def _question(
        self,
        function: Callable[..., Any],
        args: tuple[Any, ...],
        kwargs: dict[str, Any],
        spec: JobSpec,
        captured: CapturedCall,
    ) -> Question:
        """What a call asks of the cache."""
        if not self.options.cache:
            return NOT_ASKED
        from jupyter_remote.client import caching

        chosen = self.options.environment
        return caching.for_call(function, args, kwargs, captured, spec, self.namespace, chosen)

    def _question_of_notebook(
        self, spec: JobSpec, data: bytes, files: Sequence[CapturedFile]
    ) -> Question:
        if not self.options.cache:
            return NOT_ASKED
        from jupyter_remote.client import caching

        return caching.for_notebook(spec, data, files, self.options.environment)


def warn_of_map() -> None:
    """Each call of a map would need a key of its own."""
    told = "the calls of a map are not cached; those of a function by itself are"
    warnings.warn_explicit(told, UserWarning, "jupyter_remote", 1)
