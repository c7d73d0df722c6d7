"""One board: a QEMU guest with a port on the loopback, from its start to its end."""

from __future__ import annotations

import ctypes
import os
import select
import shlex
import signal
import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from .device_tree import device_tree
from .errors import LabError
from .kernel import Kernel, Kernels
from .system import System
from .tools import tool

MODELS = ("orangepi5", "orangepi5b", "orangepi5plus")
UP_SECONDS = 300
DOWN_SECONDS = 5
POLL_SECONDS = 0.2
# What its SSH server says on the console.
SSH_LISTENS = b"Server listening on"
PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Board:
    name: str
    port: int
    pid: int
    started: int
    identity: str

    @property
    def model(self) -> str:
        return model(self.name)


def model(name: str) -> str:
    found, _dash, which = name.rpartition("-")
    if found not in MODELS or not which:
        raise LabError(
            f"{name!r} is no board: a name is one of {', '.join(MODELS)}, a dash, "
            'and anything ("stock": a kernel that can\'t have livepatching; "debian": Debian\'s '
            "own for the architecture), as in orangepi5b-1."
        )
    return found


def cpus(name: str) -> int:
    # With one, a transition that no task blocks ends before init_module() returns: the only task
    # that runs is the one that loads. With more, another's idle task makes it wait a second, unless
    # something wakes that one in time: with two, a message on the console is enough.
    return 4 if model(name) == "orangepi5plus" else 1


def kernel(name: str, kernels: Kernels) -> Kernel:
    others = {"stock": kernels.stock, "debian": kernels.debian}
    return others.get(name.removeprefix(f"{model(name)}-"), kernels.livepatch)


def console(directory: Path, name: str) -> Path:
    return directory / f"{name}.console"


def free_ports(count: int) -> list[int]:
    # All are held until the last is found, or the same one would be found twice.
    sockets = [socket.create_server(("127.0.0.1", 0)) for _port in range(count)]
    ports = [found.getsockname()[1] for found in sockets]
    for found in sockets:
        found.close()
    return ports


def start(
    name: str,
    port: int,
    system: System,
    accelerator: Sequence[str],
    directory: Path,
    dies_with_us: bool,
) -> Board:
    """Call it from the main thread, whose death is what PR_SET_PDEATHSIG is about."""
    machine = system.kernel.machine
    hardware = [
        tool(machine.qemu),
        *accelerator,
        "-nodefaults",
        "-no-user-config",
        "-display",
        "none",
        "-m",
        "512",
        "-smp",
        str(cpus(name)),
    ]
    command: list[str | Path] = [*hardware]
    if machine.device_tree:
        command += ["-dtb", device_tree(hardware, model(name), directory / f"{name}.dtb")]
    command += [
        "-kernel",
        system.image,
        "-initrd",
        system.initramfs,
        "-append",
        f"quiet console={machine.console} board={name}",
        "-chardev",
        f"file,id=console,append=on,path={_comma(console(directory, name))}",
        "-serial",
        "chardev:console",
        "-drive",
        f"file={_comma(system.disk)},format=raw,if=none,id=disk,snapshot=on",
        "-device",
        f"{machine.disk},drive=disk",
        "-netdev",
        f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{port}-:22",
        "-device",
        f"{machine.network},netdev=net",
    ]
    with open(console(directory, name), "wb") as log:
        guest = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            preexec_fn=_die_with_parent if dies_with_us else None,
        )
    return Board(name, port, guest.pid, _started(guest.pid) or 0, str(system.identity))


def _comma(path: Path) -> str:
    return str(path).replace(",", ",,")


def _die_with_parent() -> None:
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def _started(pid: int) -> int | None:
    """When a process started, in clock ticks since boot; None if it is gone."""
    try:
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return None
    fields = stat.rpartition(")")[2].split()
    return None if fields[0] == "Z" else int(fields[19])


def alive(board: Board) -> bool:
    return _started(board.pid) == board.started


def stop(board: Board) -> None:
    # A pidfd stays with its process: a number used again between look and signal does no harm.
    try:
        process = os.pidfd_open(board.pid)
    except ProcessLookupError:
        return
    try:
        for number in (signal.SIGTERM, signal.SIGKILL):
            if not alive(board):
                return
            signal.pidfd_send_signal(process, number)
            select.select([process], [], [], DOWN_SECONDS)
    except ProcessLookupError:
        pass
    finally:
        os.close(process)


def ssh_options(directory: Path) -> list[str]:
    options = {
        "UserKnownHostsFile": f'"{directory / "known_hosts"}"',
        "GlobalKnownHostsFile": "/dev/null",
        "StrictHostKeyChecking": "yes",
        "HostKeyAlgorithms": "ssh-ed25519",
        "IdentitiesOnly": "yes",
        # A board whose kernel has panicked would be waited for without end.
        "ServerAliveInterval": "30",
        "ServerAliveCountMax": "4",
    }
    # Nor may what a person set for every host in ~/.ssh/config, a proxy say, apply to the loopback.
    return [
        "-F",
        "none",
        *(word for name, value in options.items() for word in ("-o", f"{name}={value}")),
    ]


def ssh_command(board: Board, directory: Path, command: Sequence[str] = ()) -> list[str]:
    return [
        tool("ssh"),
        "-o",
        "LogLevel=ERROR",
        *ssh_options(directory),
        "-i",
        board.identity,
        "-p",
        str(board.port),
        "root@127.0.0.1",
        *command,
    ]


def wait_until_up(board: Board, directory: Path, given_up: threading.Event) -> None:
    """Until SSH answers and Python runs on the board."""
    deadline = time.monotonic() + UP_SECONDS
    while time.monotonic() < deadline and alive(board) and not given_up.is_set():
        # Asking by the network would keep a slow guest busy: every answer is a process of its own.
        if SSH_LISTENS in console(directory, board.name).read_bytes():
            done = subprocess.run(
                ssh_command(board, directory, [shlex.join(["python3", "-c", "import json"])]),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                start_new_session=True,
                check=False,
            )
            if done.returncode == 0:
                return
        given_up.wait(POLL_SECONDS)
    if given_up.is_set():
        return
    reason = "did not come up in time" if alive(board) else "ended before it was up"
    log = console(directory, board.name)
    tail = "\n".join(log.read_text(errors="replace").splitlines()[-12:])
    raise LabError(f"{board.name} {reason}. The end of its console, {log}:\n{tail}")
