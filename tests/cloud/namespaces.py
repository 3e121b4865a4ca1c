"""Machines as namespaces: an own network, an overlay over this computer's files, own processes.

Each simulator has a host address ``10.222.N.1``, at which its machines find this computer and
nothing else; machine ``k`` has ``10.222.N.k``. What a machine writes stays in its overlay.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import threading
from pathlib import Path

from filelock import FileLock, Timeout

from tests.cloud import commands
from tests.cloud.imds import Metadata, MetadataService
from tests.cloud.machines import BASE_PYTHON, END_S, PATH, Gpu, RealMachine

NETWORK_NAMESPACE = 0x40000000  # CLONE_NEWNET
METADATA_ADDRESS = "169.254.169.254"
STATE = "/var/lib/simulated"  # inside the machine
PYTHON = shutil.which("python3", path=PATH) or BASE_PYTHON
PROJECT = Path(__file__).parents[2]
HIDDEN = [str(PROJECT), *([sys.prefix] if sys.prefix != sys.base_prefix else [])]
"""Else the worker might use what the server is to send it."""

# Runs in new namespaces: says so, waits until its network is there, becomes the first process.
SETUP = f"""
set -e
folder=$1 cord=$2 python=$3
shift 3  # what remains are folders that it is not to see
mount --make-rprivate /
mount -t overlay overlay \
  -o "lowerdir=/,upperdir=$folder/upper,workdir=$folder/work" "$folder/root"
cd "$folder/root"
mount -t proc proc proc
mount -t sysfs sysfs sys
mount --rbind /dev dev
mount -t tmpfs tmpfs dev/shm
mount -t tmpfs tmpfs run
mkdir -p .{STATE}
mount --bind "$folder/state" .{STATE}
mount -t tmpfs tmpfs tmp
for hidden in "$@"; do [ ! -d ".$hidden" ] || mount -t tmpfs tmpfs ".$hidden"; done
echo ready
read -r _
exec chroot . "$python" -I {STATE}/init.py {STATE} "$cord" < /dev/null
"""


class Network:
    """The host's end: an address of its own, and those of its machines."""

    def __init__(self) -> None:
        self._lock, self._number = _free_number()
        self._taken: set[int] = set()
        self._guard = threading.Lock()
        self.host = f"10.222.{self._number}.1"
        run("ip", "addr", "replace", f"{self.host}/32", "dev", "lo")

    def take(self) -> int:
        with self._guard:
            number = next(k for k in range(2, 255) if k not in self._taken)
            self._taken.add(number)
            return number

    def give_back(self, number: int) -> None:
        with self._guard:
            self._taken.discard(number)

    def address(self, number: int) -> str:
        return f"10.222.{self._number}.{number}"

    def cable(self, number: int) -> str:
        """Name of the host's end of a machine's cable."""
        return f"sim{self._number}x{number}"

    def close(self) -> None:
        subprocess.run(["ip", "addr", "del", f"{self.host}/32", "dev", "lo"], check=False)
        self._lock.release()


class NamespaceMachine(RealMachine):
    """A machine in namespaces of its own."""

    def __init__(
        self, metadata: Metadata, folder: Path, gpus: list[Gpu], *, network: Network
    ) -> None:
        super().__init__(metadata, folder, gpus)
        self._network = network
        self._number = network.take()
        self._cable = network.cable(self._number)
        self._address = network.address(self._number)

    def _write_state(self) -> None:
        super()._write_state()
        for name in ("upper/usr/local/sbin", "work", "root"):
            (self.folder / name).mkdir(parents=True)
        commands.install(self.folder / "upper/usr/local/sbin", STATE, PYTHON)

    def _start(self, cord: int) -> subprocess.Popen[bytes]:
        program = ["unshare", "--net", "--mount", "--pid", "--fork", "--kill-child"]
        inner = [str(self.folder), str(cord), PYTHON, *HIDDEN]
        log = self.folder / "setup.log"
        with log.open("wb") as errors:
            first = subprocess.Popen(
                [*program, "sh", "-c", SETUP, "setup", *inner],
                env={"PATH": PATH, "SIMULATED_MACHINE": self.id},
                pass_fds=[cord],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                start_new_session=True,
            )
        assert first.stdin is not None
        assert first.stdout is not None
        with first.stdin as go, first.stdout as told:
            if told.readline() != b"ready\n":
                self._end(first)
                raise OSError(log.read_text())
            self._connect(first.pid)
            go.write(b"go\n")
        return first

    def _connect(self, pid: int) -> None:
        """A cable between this computer and the machine's network; its metadata service."""
        address, host = self._address, self._network.host
        with contextlib.suppress(subprocess.CalledProcessError):  # left by one that was killed
            run("ip", "link", "del", self._cable)
        ends = ["type", "veth", "peer", "name", "eth0", "netns", str(pid)]
        run("ip", "link", "add", self._cable, *ends)
        inside = f"link set lo up\naddr add {METADATA_ADDRESS}/32 dev lo\n"
        inside += f"addr add {address}/32 dev eth0\nlink set eth0 up\n"
        inside += f"route add {host}/32 dev eth0 src {address}\n"
        run("nsenter", "-n", "-t", str(pid), "ip", "-batch", "-", text=inside)
        self._plug_in()
        self._service = MetadataService(_bound_inside(pid), self.metadata)

    def _plug_in(self) -> None:
        run("ip", "link", "set", self._cable, "up")
        run("ip", "route", "replace", f"{self._address}/32", "dev", self._cable)

    def _end(self, first: subprocess.Popen[bytes]) -> None:
        first.kill()  # the first process of the namespace goes with it, and the kernel kills all
        first.wait(END_S)

    def _clean(self) -> None:
        super()._clean()
        subprocess.run(["ip", "link", "del", self._cable], check=False, capture_output=True)
        self._network.give_back(self._number)

    def partition(self) -> None:
        run("ip", "link", "set", self._cable, "down")

    def heal(self) -> None:
        self._plug_in()


def run(*command: str, text: str = "") -> None:
    """Raises CalledProcessError."""
    subprocess.run(command, input=text.encode(), check=True, capture_output=True, timeout=END_S)


def why_not() -> str:
    """Why namespaces do not work on this computer; empty: they do."""
    if sys.platform != "linux":
        return "not Linux"
    if os.geteuid() != 0:
        return "not root"
    with tempfile.TemporaryDirectory() as folder:
        for name in ("upper", "work", "root"):
            Path(folder, name).mkdir()
        layers = f"lowerdir=/,upperdir={folder}/upper,workdir={folder}/work"
        overlay = f"mount --make-rprivate / && mount -t overlay overlay -o {layers} {folder}/root"
        seen = f"test -x {folder}/root{PYTHON}"
        tried = ["unshare", "--net", "--mount", "--pid", "--fork"]
        tried += ["sh", "-c", f"{overlay} && {seen} && ip link set lo up"]
        try:
            run(*tried)
        except (OSError, subprocess.SubprocessError) as error:
            told = getattr(error, "stderr", b"") or b""
            return told.decode(errors="replace").strip() or str(error)
    return ""


def _free_number() -> tuple[FileLock, int]:
    for number in range(1, 255):
        file = Path(tempfile.gettempdir(), f"simulated-network-{number}.lock")
        lock = FileLock(file, thread_local=False)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            continue
        return lock, number
    raise OSError("every network 10.222.N is taken")


def _bound_inside(pid: int) -> socket.socket:
    """A socket in the network of a process: made by a thread that enters it."""
    made: list[socket.socket] = []

    def make() -> None:
        with open(f"/proc/{pid}/ns/net") as namespace:
            libc = ctypes.CDLL(None, use_errno=True)
            if libc.setns(namespace.fileno(), NETWORK_NAMESPACE):
                raise OSError(ctypes.get_errno(), "setns")
        bound = socket.socket()
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((METADATA_ADDRESS, 80))
        made.append(bound)

    thread = threading.Thread(target=make)
    thread.start()
    thread.join()
    if not made:
        raise OSError("the metadata service cannot enter the machine's network")
    return made[0]
