# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""The gate against the kernel: random livepatches, and every verdict compared.

    make agreement

plays a hundred sequences on one of the lab's boards; --sequences plays more.

Each sequence loads, disables and removes livepatches made from one built
template (tests/lab/livepatches/states_template.c).  After every step the
kernel's verdict, its own list and sysfs are compared with what the gate and the
rules said beforehand.  A sequence is made from the seed and its number alone,
so that it can be played again; one that disagrees is shrunk before it is shown.
"""

from __future__ import annotations

import argparse
import base64
import io
import json
import os
import random
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from typing import Any

import yaml
from elftools.elf.elffile import ELFFile

from ansible_collections.orangepi.livepatch.plugins.module_utils.livepatch_file import inspect
from ansible_collections.orangepi.livepatch.plugins.module_utils.shapes import file_to_json

REPOSITORY = Path(__file__).parents[2]
BATCH = 100
REMOTE = "/root/agreement.zip"
KLP_PATCH_REPLACE = 24


def main() -> int:
    """Play random sequences on one board.  Exit status 1 after a disagreement."""
    parser = argparse.ArgumentParser(prog="python3 -m tests.agreement", description=__doc__)
    parser.add_argument("--sequences", type=int, default=300)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2**32))
    arguments = parser.parse_args()

    inventory = yaml.safe_load(Path(os.environ["LAB_INVENTORY"]).read_text())
    boards = inventory["all"]["children"]["boards"]
    name = next(name for group in boards["children"].values() for name in group["hosts"])
    template = Path(boards["vars"]["lab_modules"]) / "states_template.ko"
    batch = dict(_template(template), seed=arguments.seed)
    _ssh(name, "cat > " + REMOTE, _package())
    print("%s: %d sequences, seed %d" % (name, arguments.sequences, arguments.seed), flush=True)

    totals = {"played": 0, "loads": 0, "refusals": 0}
    start = time.monotonic()
    for first in range(0, arguments.sequences, BATCH):
        count = min(BATCH, arguments.sequences - first)
        answer = _play(name, dict(batch, first=first, sequences=count))
        if "why" in answer:
            _shrink(name, dict(batch, first=answer["sequence"], sequences=1), answer)
            return 1
        totals = {key: totals[key] + answer[key] for key in totals}
        print("%(played)d played, %(loads)d loads, %(refusals)d refusals" % totals, flush=True)
    seconds = time.monotonic() - start
    print("no disagreement; %.1f sequences a second" % (totals["played"] / seconds))
    return 0


def _shrink(name: str, batch: dict[str, Any], answer: dict[str, Any]) -> None:
    """Show the shortest part of the sequence that still disagrees."""
    only = list(range(answer["steps"]))
    for index in reversed(range(answer["steps"])):
        fewer = [step for step in only if step != index]
        shorter = _play(name, dict(batch, only=fewer))
        if "why" in shorter:
            only, answer = fewer, shorter
    print("DISAGREEMENT in sequence %d, steps %s: %s" % (batch["first"], only, answer["why"]))


def _play(name: str, batch: dict[str, Any]) -> dict[str, Any]:
    command = "PYTHONPATH=%s python3 -m agreement_board" % REMOTE
    answer: dict[str, Any] = json.loads(_ssh(name, command, json.dumps(batch).encode()))
    return answer


def _template(path: Path) -> dict[str, Any]:
    image = path.read_bytes()
    elf = ELFFile(io.BytesIO(image))
    symbols = {symbol.name: symbol for symbol in elf.get_section_by_name(".symtab").iter_symbols()}

    def offset(name: str) -> int:
        symbol = symbols[name]
        return int(elf.get_section(symbol["st_shndx"])["sh_offset"] + symbol["st_value"])

    return {
        "image": base64.b64encode(image).decode(),
        "file": file_to_json(inspect(image, path.name)),
        "states_at": offset("states"),
        "replace_at": offset("patch") + KLP_PATCH_REPLACE,
        "byte_order": "<" if elf.little_endian else ">",
    }


def _package() -> bytes:
    """What the board needs, as a zip file that Python imports from."""
    out = io.BytesIO()
    package = "ansible_collections/orangepi/livepatch/plugins/module_utils"
    with zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        for module in (REPOSITORY / "plugins/module_utils").glob("*.py"):
            if not module.name.startswith("livepatch_"):
                archive.write(module, "%s/%s" % (package, module.name))
        for depth in range(1, len(package.split("/")) + 1):
            archive.writestr("/".join([*package.split("/")[:depth], "__init__.py"]), "")
        archive.write(Path(__file__).with_name("board.py"), "agreement_board.py")
    return out.getvalue()


def _ssh(name: str, command: str, data: bytes) -> bytes:
    lab = [sys.executable, "-m", "tests.lab", "ssh", "--dir", os.environ["LAB_DIR"], name, command]
    done = subprocess.run(lab, input=data, stdout=subprocess.PIPE, cwd=REPOSITORY, check=False)
    # 1 is a disagreement, which is told in the answer.
    if done.returncode not in (0, 1) or (done.returncode and not done.stdout):
        sys.exit("%s on %s ended with status %d" % (command, name, done.returncode))
    return done.stdout


if __name__ == "__main__":
    sys.exit(main())
