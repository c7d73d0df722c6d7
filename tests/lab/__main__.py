"""python3 -m tests.lab: build, up, run, ssh, status, down."""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from . import board, lab
from .errors import LabError
from .kernel import KERNELS, Kernels

COMMAND_SECONDS = 15


def _boards(text: str) -> list[str]:
    try:
        for name in (names := text.split(",")):
            board.model(name)
    except LabError as error:
        raise argparse.ArgumentTypeError(str(error)) from None
    return names


def _kernels(arch: str, suite: str | None) -> Kernels:
    if arch not in KERNELS:
        raise LabError(f"--arch is one of {', '.join(KERNELS)}, not {arch}.")
    suites = KERNELS[arch]
    chosen = suite or next(iter(suites))
    if chosen not in suites:
        raise LabError(f"--suite is one of {', '.join(suites)} for {arch}, not {chosen}.")
    return suites[chosen]


def _directory(text: str) -> Path:
    return Path(text).resolve()


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python3 -m tests.lab", description="Real boards on one machine, for tests."
    )
    commands = parser.add_subparsers(dest="command", required=True)

    build = commands.add_parser("build", help="build everything that is cached")
    up = commands.add_parser("up", help="boot boards and write an inventory")
    run = commands.add_parser("run", help="boot boards, run a command, shut the boards down")
    down = commands.add_parser("down", help="shut the boards down")
    status = commands.add_parser("status", help="list the boards")
    ssh = commands.add_parser("ssh", help="log in to a board, or run a command there")

    for command in (build, up, run):
        command.add_argument(
            "--boards",
            type=_boards,
            default=list(lab.DEFAULT_BOARDS),
            metavar="NAME,...",
            help="MODEL-ANYTHING; MODEL-stock can't have livepatching, and MODEL-debian runs "
            "Debian's own kernel (default: %(default)s)",
        )
        command.add_argument(
            "--arch",
            default=os.environ.get("LAB_ARCH") or "amd64",
            metavar="ARCH",
            help=f"{' or '.join(KERNELS)}; LAB_ARCH in the environment does the same "
            "(default: %(default)s)",
        )
        command.add_argument(
            "--suite",
            default=os.environ.get("LAB_SUITE"),
            metavar="SUITE",
            help="Debian's release that the kernel is from: "
            + "; ".join(f"{', '.join(suites)} for {arch}" for arch, suites in KERNELS.items())
            + "; LAB_SUITE in the environment does the same (default: the first)",
        )
    for command in (up, down, status, ssh):
        command.add_argument(
            "--dir", type=_directory, required=True, help="where the lab is described"
        )
    run.add_argument(
        "argv",
        nargs="+",
        metavar="COMMAND",
        help="sees LAB_DIR, LAB_INVENTORY and ANSIBLE_INVENTORY",
    )
    ssh.add_argument("board", metavar="BOARD")
    ssh.add_argument("argv", nargs=argparse.REMAINDER, metavar="COMMAND")
    return parser


def _run(names: Sequence[str], arch: str, suite: str | None, command: Sequence[str]) -> int:
    with tempfile.TemporaryDirectory(prefix="lab-") as name:
        directory = Path(name)
        try:
            lab.up(names, _kernels(arch, suite), directory, dies_with_us=True)
            inventory = str(directory / "inventory.yml")
            return _child(
                command,
                os.environ
                | {
                    "LAB_ARCH": arch,
                    "LAB_SUITE": suite or "",
                    "LAB_DIR": name,
                    "LAB_INVENTORY": inventory,
                    "ANSIBLE_INVENTORY": inventory,
                },
            )
        finally:
            # A second Ctrl-C must not leave boards behind.
            signal.signal(signal.SIGINT, signal.SIG_IGN)
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            lab.down(directory)


def _child(command: Sequence[str], environment: dict[str, str]) -> int:
    try:
        child = subprocess.Popen(command, env=environment)
    except OSError as error:
        raise LabError(f"{command[0]} can't be run: {error.strerror}.") from None
    try:
        status = child.wait()
    except BaseException:
        child.terminate()
        try:
            child.wait(COMMAND_SECONDS)
        except subprocess.TimeoutExpired:
            child.kill()
        raise
    return status if status >= 0 else 128 - status


def _status(directory: Path) -> int:
    boards = lab.boards(directory)
    for one in boards:
        state = "running" if board.alive(one) else "ended"
        print(f"{one.name:20} {state:8} port {one.port:<6} pid {one.pid}")
    return 0 if boards and all(map(board.alive, boards)) else 1


def _terminated(number: int, _frame: FrameType | None) -> None:
    raise SystemExit(128 + number)


def main() -> int:
    arguments = _parser().parse_args()
    signal.signal(signal.SIGTERM, _terminated)
    try:
        match arguments.command:
            case "build":
                lab.build(arguments.boards, _kernels(arguments.arch, arguments.suite))
            case "up":
                lab.up(arguments.boards, _kernels(arguments.arch, arguments.suite), arguments.dir)
                print(arguments.dir / "inventory.yml")
            case "run":
                return _run(arguments.boards, arguments.arch, arguments.suite, arguments.argv)
            case "down":
                lab.down(arguments.dir)
            case "status":
                return _status(arguments.dir)
            case "ssh":
                command = board.ssh_command(
                    lab.find(arguments.dir, arguments.board), arguments.dir, arguments.argv
                )
                os.execv(command[0], command)
    except LabError as error:
        print(f"lab: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    return 0


sys.exit(main())
