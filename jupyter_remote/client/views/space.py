"""What the views of one client share: bytes on their way, functions, what came back."""

from __future__ import annotations

import threading
import weakref
from typing import TYPE_CHECKING, Any

from jupyter_remote import calls, errors, shared, values
from jupyter_remote.calls import INLINE_BYTES
from jupyter_remote.client import transfer
from jupyter_remote.client.failures import exception_of
from jupyter_remote.client.views.exchange import Exchange, Request
from jupyter_remote.client.views.functions import Belongings, Functions, segments_beside
from jupyter_remote.client.views.local_files import LocalFiles
from jupyter_remote.client.views.relay import Relay
from jupyter_remote.mapping import blob_path, map_blob
from jupyter_remote.pickling.versions import MAGIC, PYTHON
from jupyter_remote.values import Packed
from jupyter_remote.wire import EstimateRequest, MissingSegment, Parcel, PlanReply, Segment

if TYPE_CHECKING:
    from jupyter_remote.client.context import Context


class Space:
    """What the views of one client share."""

    def __init__(self, context: Context, namespace: dict[str, Any], about: str = "") -> None:
        self.context = context
        self.namespace = namespace
        self.about = about
        self.exchange = Exchange()
        self.relay = Relay(context.link)
        self.shared = shared.Folder()
        self.files = LocalFiles()
        self.functions = Functions(namespace, self.kept_beside, self.files)
        self.belongings = Belongings(namespace, self.files)
        self._bringing: weakref.WeakValueDictionary[int, Parcel] = weakref.WeakValueDictionary()
        self._apart = False  # some session cannot read this client's folder
        self._sharing = threading.Lock()

    def greeting(self, key: str, *, here: bool) -> calls.Hi:
        """The first message to a kernel; ``here``: on this computer."""
        return calls.Hi(
            key=key,
            client=self.context.client,
            about=self.about,
            shared=self.shared.path if here else "",
            python=PYTHON,
            magic=MAGIC,
        )

    def close(self) -> None:
        self.exchange.close()
        self.relay.close()
        self.shared.close()

    def packed_arguments(
        self, args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> tuple[bytes, Parcel | None]:
        """Small ones as bytes; others are sent to the backend, and named. Raises CaptureError."""
        packed = values.dumps((args, kwargs), self.namespace, INLINE_BYTES)
        brings = False
        if not isinstance(packed, bytes) or values.refers(packed):
            brings = self.belongings.look((args, kwargs))
        if isinstance(packed, bytes):
            return packed, None
        self.send_beside(packed.parcel, packed.contents)
        if brings:
            self._bringing[id(packed.parcel)] = packed.parcel
        return b"", packed.parcel

    def bring_globals(self, plain: bytes, inputs: Parcel | None) -> bool:
        """May functions among these arguments set globals over there?"""
        if inputs is None:
            return values.has_functions(plain)
        return id(inputs) in self._bringing

    def send_beside(self, parcel: Parcel, contents: dict[str, memoryview]) -> None:
        """See to it that the workers can have what is not inside of the parcel."""
        beside = segments_beside(parcel)
        with self._sharing:
            self.shared.pin([s.digest for s in beside], parcel)
            new = [s for s in beside if not self._is_there(s.digest)]
            if new and self._shares:
                there = self.shared.put({s.digest: contents[s.digest] for s in new}, parcel)
                new = [s for s in new if s.digest not in there]
        self._send(new, contents)

    def kept_beside(self, parcel: Parcel, contents: dict[str, memoryview]) -> dict[str, memoryview]:
        """The same, sent and as it is now: what it views is the user's, who may change it."""
        self.send_beside(parcel, contents)
        kept = {}
        for digest, view in contents.items():
            path = shared.find(self.shared.path, digest)
            there = None if path is None else map_blob(path, digest, view.nbytes)
            kept[digest] = memoryview(bytes(view)) if there is None else there
        return kept

    def keep_apart(self) -> None:
        """Some session cannot read this client's folder: the backend gets what is there, too."""
        with self._sharing:
            if not self._shares:
                return
            self._apart = True
            held = self.shared.held
        segments, contents = [], {}
        for digest, size_bytes in held.items():
            if (path := shared.find(self.shared.path, digest)) is not None:
                segments.append(Segment(digest, size_bytes))
                contents[digest] = map_blob(path, digest, size_bytes)
        self._send(segments, contents)

    @property
    def _shares(self) -> bool:
        return not self._apart and self.context.link.info.embedded

    def _send(self, segments: list[Segment], contents: dict[str, memoryview]) -> None:
        """To the backend, what it lacks: it forgets what no job needs."""
        lacking = {missing.digest for missing in self._missing(segments)}
        if not lacking:
            return
        packed = Packed(Parcel([s for s in segments if s.digest in lacking]), contents)
        if transfer.spool_of(self.context.link) is None:
            packed = values.with_chunks(packed)
        outgoing = transfer.Outgoing()
        outgoing.add(packed.parcel.segments, contents)
        transfer.send(self.context.link, self._missing(packed.parcel.segments), outgoing)

    def _missing(self, segments: list[Segment]) -> list[MissingSegment]:
        if not segments:
            return []
        request = EstimateRequest(segments=segments)
        return self.context.link.call("POST", "/v1/plans", request, reply=PlanReply).missing

    def _is_there(self, digest: str) -> bool:
        if self._shares and self.shared.has(digest):
            return True
        blobs = self.context.link.info.blobs
        return bool(blobs) and blob_path(blobs, digest).exists()

    def arrived(self, value: Parcel) -> None:
        """A result whose bytes a kernel may have put into this client's folder."""
        self.shared.adopt({s.digest: s.size_bytes for s in segments_beside(value)}, value)

    def value_of(self, request: Request) -> Any:
        """What a call gave back. Raises what it raised, EngineError, TaskAborted."""
        reply = request.reply
        if reply is None:
            assert request.error is not None
            raise request.error
        if reply.dropped:
            raise errors.TaskAborted("the call was stopped before it began")
        if reply.error is not None:
            raise exception_of(reply.error, self.namespace)
        if reply.value is not None:
            return values.unpack(
                reply.value,
                self._fetch,
                namespace=self.namespace,
                at_home=True,
            )
        return values.loads(reply.plain, self.namespace, at_home=True) if reply.plain else None

    def _fetch(self, segment: Segment) -> Any:
        if (path := shared.find(self.shared.path, segment.digest)) is not None:
            return map_blob(path, segment.digest, segment.size_bytes)
        return transfer.fetch(self.context.link, segment)
