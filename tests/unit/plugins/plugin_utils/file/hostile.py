# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Modules that are made to be expensive, and a process that may have 256 MiB to read one."""

from __future__ import annotations

import os
import struct
import subprocess
import sys
from pathlib import Path

from ansible_collections.orangepi.livepatch.plugins.plugin_utils.file.findings import (
    read_with_findings,
)

MIB = 2**20
SHDR = struct.Struct("<IIQQQQIIQQ")
RELA = struct.Struct("<QIIq")
SYM = struct.Struct("<IBBHQQ")
STT_SECTION = 3


class Hostile:
    """A real module with its sections replaced or added to."""

    def __init__(self, image: bytes) -> None:
        self.image = bytearray(image)
        (start,) = struct.unpack_from("<Q", image, 40)
        count, self.strings = struct.unpack_from("<HH", image, 60)
        self.headers = [list(SHDR.unpack_from(image, start + 64 * i)) for i in range(count)]

    def index(self, name: str) -> int:
        for index, header in enumerate(self.headers):
            text = self.headers[self.strings][4] + header[0]
            if self.image[text : self.image.index(b"\0", text)].decode() == name:
                return index
        raise AssertionError(name)

    def content(self, index: int) -> bytes:
        start, size = self.headers[index][4:6]
        return bytes(self.image[start : start + size])

    def place(self, index: int, content: bytes) -> None:
        """Give a section other content, at the end of the file."""
        self.headers[index][4] = len(self.image)
        self.headers[index][5] = len(content)
        self.image += content

    def add(self, like: str, content: bytes) -> int:
        """A section more, with the header of another one."""
        self.headers.append(list(self.headers[self.index(like)]))
        self.place(len(self.headers) - 1, content)
        return len(self.headers) - 1

    def add_symbols(self, sections: list[int]) -> int:
        """A symbol for the start of each section; the index of the first."""
        symtab = self.index(".symtab")
        content = self.content(symtab)
        new = b"".join(SYM.pack(0, STT_SECTION, 0, index, 0, 0) for index in sections)
        self.place(symtab, content + new)
        return len(content) // SYM.size

    def done(self) -> bytes:
        struct.pack_into("<Q", self.image, 40, len(self.image))
        struct.pack_into("<H", self.image, 60, len(self.headers))
        self.image += b"".join(SHDR.pack(*header) for header in self.headers)
        return bytes(self.image)


# The limit is set when everything is imported: it is for the file, not for Python.
_READ = """
import resource, sys, time
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.file.findings import (
    read_with_findings)
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.file.livepatch_file import (
    LivepatchFileError)
resource.setrlimit(resource.RLIMIT_AS, (256 * 2**20, 256 * 2**20))
start = time.process_time()
try:
    file, findings = read_with_findings(sys.argv[1])
    livepatch = file.livepatch
    message = repr((livepatch.replace, livepatch.states, livepatch.objects, findings))
except LivepatchFileError as error:
    message = str(error)
seconds = time.process_time() - start
with open("/proc/self/status") as status:
    peak = next(int(line.split()[1]) // 1024 for line in status if line.startswith("VmPeak"))
print("%.2f s, %d MiB" % (seconds, peak))
print(message)
"""


def cost(data: bytes, tmp_path: Path) -> str:
    """What a file declares and is found to lack, or the error, within 256 MiB of address space.

    How long it took is printed only: a busy machine is no failure.
    """
    path = tmp_path / "hostile.ko"
    path.write_bytes(data)
    done = subprocess.run(
        [sys.executable, "-c", _READ, str(path)],
        env=dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path)),
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
    )
    path.unlink()
    assert done.stderr == ""
    figures, message = done.stdout.splitlines()
    print("%d bytes:" % len(data), figures, message[:200])
    return message.replace(str(path), "/srv/hostile.ko")


def declared(image: bytes, tmp_path: Path) -> str:
    """The answer of cost() to a file that is read."""
    path = tmp_path / "honest.ko"
    path.write_bytes(image)
    file, findings = read_with_findings(path)
    livepatch = file.livepatch
    return repr((livepatch.replace, livepatch.states, livepatch.objects, findings))
