"""What stands in this kernel for comms of remote code. Imported with the first of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from comm import get_comm_manager
from comm.base_comm import BaseComm

if TYPE_CHECKING:
    from jupyter_remote.notebook.comms import Comms

CONTROL = "jupyter.widget.control"


class ProxyComm(BaseComm):
    """Says nothing itself, and runs no hooks of cells: a message is the remote code's business."""

    comms: Comms

    def publish_msg(self, *args: Any, **kwargs: Any) -> None: ...

    def handle_msg(self, msg: dict[str, Any]) -> None:
        self.comms.said(self.comm_id, "comm_msg", msg)

    def handle_close(self, msg: dict[str, Any]) -> None:
        self.comms.said(self.comm_id, "comm_close", msg)


def proxy_of(comms: Comms, id: str, target: str) -> ProxyComm:
    """Not registered yet."""
    proxy = ProxyComm(target_name=target, comm_id=id, primary=False)
    proxy.comms = comms
    return proxy


def show_to_reloaded_pages(comms: Comms) -> None:
    """A page that is loaded again asks this kernel for all widgets: it is told of the remote ones
    as well as of its own."""
    import ipywidgets  # noqa: F401  registers what answers for its own

    manager = get_comm_manager()
    own = manager.targets.get(CONTROL)
    if own is None:  # a page asks for each widget then, which its proxy answers
        return

    def opened(control: Any, message: dict[str, Any]) -> None:
        send = control.send

        def send_all(data: dict[str, Any], metadata: Any = None, buffers: Any = None) -> None:
            if data.get("method") == "update_states":
                data, buffers = _with_remote(comms, data, list(buffers or ()))
            send(data, metadata, buffers)

        control.send = send_all
        own(control, message)

    manager.register_target(CONTROL, opened)


def _with_remote(
    comms: Comms, data: dict[str, Any], buffers: list[Any]
) -> tuple[dict[str, Any], list[Any]]:
    states, paths = dict(data["states"]), list(data.get("buffer_paths") or ())
    for id, model in list(comms.models.items()):
        state = model.shown_state()
        if "_model_name" not in state:
            continue
        states[id] = {
            "model_name": state["_model_name"],
            "model_module": state["_model_module"],
            "model_module_version": state["_model_module_version"],
            "state": state,
        }
        for path, buffer in model.buffers.items():
            paths.append([id, "state", *path])
            buffers.append(buffer)
    return {**data, "states": states, "buffer_paths": paths}, buffers
