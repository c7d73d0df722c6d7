# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""livepatch_file says what a file is, and refuses with one sentence what is no livepatch."""

from __future__ import annotations

import hashlib
import json
import os
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from ansible_collections.orangepi.livepatch.plugins.module_utils.shapes import (
    file_from_json,
    file_to_json,
)
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.file.livepatch_file import (
    LivepatchFileError,
    catalog_paths,
    inspect,
    read_livepatch_file,
)
from ansible_collections.orangepi.livepatch.tests.unit.livepatch_sources.build import (
    MACHINES,
    Builder,
)
from ansible_collections.orangepi.livepatch.tests.unit.plugins.plugin_utils.file.declared import (
    livepatch,
)


@pytest.mark.parametrize("machine", MACHINES)
class TestEveryMachine:
    def test_what_the_file_is(self, builder: Builder, machine: str) -> None:
        mod = ('-DSRCVERSION="0123456789ABCDEF012"', '-DDEPENDS="ext4,dm_mod"')
        path = builder.module("fixes_1.c", machine=machine, mod=mod)
        file = read_livepatch_file(path)
        data = path.read_bytes()
        assert file.arch == machine
        assert file.kernel_release == "6.1.0-test"
        assert file.vermagic == "6.1.0-test SMP preempt mod_unload modversions "
        assert (file.path, file.size) == (str(path), len(data))
        assert file.sha256 == hashlib.sha256(data).hexdigest()
        assert (file.generator, file.signature, file.compression) == ("source", None, None)
        assert file.depends == ("ext4", "dm_mod")
        assert file.livepatch.srcversion == "0123456789ABCDEF012"
        assert file.livepatch.build_id is not None
        assert bytes.fromhex(file.livepatch.build_id) in data

    def test_the_shape_survives_json(self, builder: Builder, machine: str) -> None:
        for source in ("fixes_2.c", "objects.c", "dynamic.c", "kpatch.c", "klp_build.c"):
            file = read_livepatch_file(builder.module(source, machine=machine))
            assert file_from_json(json.loads(json.dumps(file_to_json(file)))) == file


class TestName:
    def test_it_is_the_one_in_struct_module(self, builder: Builder) -> None:
        image = builder.module("cmdline.c").read_bytes()
        image = image.replace(b"name=cmdline\0", b"name=another\0")
        assert inspect(image, "file").livepatch.name == "cmdline"

    def test_modinfo_has_it_where_struct_module_has_more_text(self, builder: Builder) -> None:
        path = builder.module("cmdline.c")
        image = bytearray(path.read_bytes())
        at = image.rindex(b"\0cmdline\0" + bytes(48))
        image[at + 64 : at + 72] = b"\0random\0"
        assert inspect(bytes(image), "file").livepatch.name == "cmdline"

    def test_modinfo_without_a_name(self, builder: Builder) -> None:
        assert livepatch(builder.module("cmdline.c", mod=("-DNO_NAME",))).name == "cmdline"

    def test_rewritten_in_the_whole_file(self, builder: Builder) -> None:
        image = builder.module("cmdline.c").read_bytes().replace(b"cmdline\0", b"random1\0")
        assert inspect(image, "file").livepatch.name == "random1"

    @pytest.mark.parametrize("name", ["with space", "a/b", "x" * 56])
    def test_no_valid_name_is_an_error(self, builder: Builder, name: str) -> None:
        mod = ("-UKBUILD_MODNAME", '-DKBUILD_MODNAME="%s"' % name)
        path = builder.module("cmdline.c", mod=mod)
        with pytest.raises(LivepatchFileError, match="has no valid module name"):
            livepatch(path)


class TestNotALivepatch:
    def refused(self, data: bytes) -> str:
        with pytest.raises(LivepatchFileError) as error:
            inspect(data, "/srv/file.ko")
        message = str(error.value)
        assert message.startswith("/srv/file.ko ")
        assert "\n" not in message
        return message

    def test_an_ordinary_module(self, builder: Builder) -> None:
        message = self.refused(builder.module("blocker.c").read_bytes())
        assert "is a kernel module but not a livepatch" in message

    def test_an_object_file(self, builder: Builder, tmp_path: Path) -> None:
        source = tmp_path / "nothing.c"
        source.write_text("int nothing;\n")
        path = builder.compile(source, tmp_path / "nothing.o")
        assert "is not a kernel module but an object file" in self.refused(path.read_bytes())

    def test_a_32_bit_file(self, builder: Builder, tmp_path: Path) -> None:
        source = tmp_path / "nothing.c"
        source.write_text("int nothing;\n")
        path = builder.compile(source, tmp_path / "n.o", "-mcmodel=32", "-m32")
        assert "is a 32-bit ELF file" in self.refused(path.read_bytes())

    def test_an_executable(self) -> None:
        message = self.refused(Path(sys.executable).resolve().read_bytes()[: 2**20])
        assert "is an ELF file but not a kernel module" in message

    def test_a_machine_without_livepatching(self, builder: Builder) -> None:
        image = bytearray(builder.module("cmdline.c").read_bytes())
        struct.pack_into("<H", image, 18, 243)  # EM_RISCV
        assert "is for a machine without livepatching" in self.refused(bytes(image))

    @pytest.mark.parametrize("data", [b"", b"\x7f", b"text\n" * 100, b"\0" * 4096, b"PK\3\4" * 9])
    def test_not_elf(self, data: bytes) -> None:
        assert "is not an ELF file" in self.refused(data)

    def test_no_vermagic(self, builder: Builder) -> None:
        message = self.refused(builder.module("cmdline.c", mod=("-DNO_VERMAGIC",)).read_bytes())
        assert "does not say which kernel it is for" in message

    def test_a_path_with_a_line_break_stays_on_one_line(self) -> None:
        with pytest.raises(LivepatchFileError) as error:
            inspect(b"", "/srv/a\nb.ko")
        assert "\n" not in str(error.value)


class TestReading:
    def test_a_missing_file(self, tmp_path: Path) -> None:
        with pytest.raises(LivepatchFileError, match="can't be read: No such file"):
            read_livepatch_file(tmp_path / "missing.ko")

    def test_a_directory(self, tmp_path: Path) -> None:
        with pytest.raises(LivepatchFileError, match="is not a regular file|Is a directory"):
            read_livepatch_file(tmp_path)

    def test_a_fifo_does_not_block(self, tmp_path: Path) -> None:
        os.mkfifo(tmp_path / "fifo.ko")
        with pytest.raises(LivepatchFileError, match="is not a regular file"):
            read_livepatch_file(tmp_path / "fifo.ko")

    def test_a_device(self) -> None:
        with pytest.raises(LivepatchFileError, match="is not a regular file"):
            read_livepatch_file("/dev/zero")

    def test_a_huge_file(self, tmp_path: Path) -> None:
        path = tmp_path / "huge.ko"
        with path.open("wb") as file:
            file.truncate(2**40)
        with pytest.raises(LivepatchFileError, match="is more than 64 MiB"):
            read_livepatch_file(path)

    def test_a_catalog_lists_every_module_by_name(self, builder: Builder, tmp_path: Path) -> None:
        (tmp_path / "b.ko").write_bytes(builder.module("fixes_1.c").read_bytes())
        (tmp_path / "a.ko").write_bytes(b"broken")
        (tmp_path / "README.md").write_text("no module\n")
        (tmp_path / "directory.ko").mkdir()
        found = [os.path.basename(path) for path in catalog_paths(tmp_path)]
        assert found == ["a.ko", "b.ko", "directory.ko"]

    def test_a_catalog_that_is_not_there(self, tmp_path: Path) -> None:
        with pytest.raises(LivepatchFileError, match="give a directory"):
            catalog_paths(tmp_path / "missing")


def test_without_pyelftools_it_imports_and_says_what_to_install(builder: Builder) -> None:
    path = builder.module("cmdline.c")
    script = """
import sys
sys.modules["elftools"] = None
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.file import livepatch_file
try:
    livepatch_file.read_livepatch_file(sys.argv[1])
except livepatch_file.LivepatchFileError as error:
    print(error)
"""
    done = subprocess.run(
        [sys.executable, "-c", script, str(path)],
        env=dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path)),
        capture_output=True,
        text=True,
        check=True,
    )
    assert "pip install pyelftools" in done.stdout
    assert done.stderr == ""
