"""A lab: some boards, and the directory that describes them while they run."""

from __future__ import annotations

import json
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from pathlib import Path

from . import board, cache
from .accel import accelerator
from .board import Board
from .errors import LabError
from .inventory import inventory
from .kernel import Kernel, Kernels
from .modules import modules
from .system import System, system
from .tools import say, step

DEFAULT_BOARDS = ("orangepi5-1", "orangepi5b-1", "orangepi5plus-1")


def build(names: Sequence[str], kernels: Kernels) -> tuple[dict[Kernel, System], Path]:
    """What the boards need; the modules are for the kernel that supports livepatching."""
    with cache.locked():
        # In the order of the names: what is built when is no matter of chance.
        needed = (kernels.livepatch, *(board.kernel(name, kernels) for name in names))
        systems = {kernel: system(kernel) for kernel in dict.fromkeys(needed)}
        return systems, modules(systems[kernels.livepatch])


def up(
    names: Sequence[str], kernels: Kernels, directory: Path, *, dies_with_us: bool = False
) -> None:
    if len(set(names)) != len(names):
        raise LabError("A board is named twice.")
    if any(map(board.alive, boards(directory))):
        raise LabError(
            f"Boards of {directory} are running already: end them first, "
            f"with `down --dir {directory}`."
        )
    systems, built = build(names, kernels)
    with cache.locked():
        how = accelerator(systems[kernels.livepatch])
    directory.mkdir(parents=True, exist_ok=True)
    started: list[Board] = []
    with step(f"booting {', '.join(names)} ({how[1].split(',')[0]})"):
        try:
            for name, port in zip(names, board.free_ports(len(names)), strict=True):
                started.append(
                    board.start(
                        name,
                        port,
                        systems[board.kernel(name, kernels)],
                        how,
                        directory,
                        dies_with_us,
                    )
                )
                # Known before anything else can fail, so that `down` finds it.
                _write(
                    directory / "state.json",
                    json.dumps([asdict(one) for one in started], indent=2) + "\n",
                )
            host_keys = (
                f"[127.0.0.1]:{one.port} {systems[board.kernel(one.name, kernels)].host_key}\n"
                for one in started
            )
            _write(directory / "known_hosts", "".join(host_keys))
            _wait(started, directory)
        except BaseException:
            down(directory)
            raise
    _write(directory / "inventory.yml", inventory(started, built, directory))


def _wait(started: Sequence[Board], directory: Path) -> None:
    given_up = threading.Event()

    def wait(one: Board) -> None:
        board.wait_until_up(one, directory, given_up)
        if not given_up.is_set():
            say(f"{one.name} is up: port {one.port}")

    with ThreadPoolExecutor(len(started)) as pool:
        try:
            for waiting in [pool.submit(wait, one) for one in started]:
                waiting.result()
        except BaseException:
            given_up.set()
            raise


def _write(path: Path, text: str) -> None:
    unfinished = path.with_name(path.name + ".new")
    unfinished.write_text(text)
    unfinished.rename(path)


def boards(directory: Path) -> list[Board]:
    try:
        return [Board(**fields) for fields in json.loads((directory / "state.json").read_text())]
    except FileNotFoundError:
        return []


def find(directory: Path, name: str) -> Board:
    known = {one.name: one for one in boards(directory)}
    if name not in known:
        raise LabError(f"{directory} has no board {name}: it has {', '.join(known) or 'none'}.")
    return known[name]


def down(directory: Path) -> None:
    with ThreadPoolExecutor() as pool:
        list(pool.map(board.stop, boards(directory)))
    for name in ("state.json", "inventory.yml", "known_hosts"):
        (directory / name).unlink(missing_ok=True)
