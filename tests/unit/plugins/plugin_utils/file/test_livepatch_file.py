# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""livepatch_file says what a file is, and refuses with one sentence what is no livepatch."""

from __future__ import annotations

import hashlib
import json
import os
import re
import struct
import subprocess
import sys
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ansible_collections.orangepi.livepatch.plugins.module_utils.shapes import (
    file_from_json,
    file_to_json,
)
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.file.findings import (
    read_with_findings,
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

PACKAGE = "ansible_collections.orangepi.livepatch.plugins.plugin_utils.file"


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


class TestMayBeALivepatch:
    """What is certain to be something else may be passed over; nothing else may."""

    def may_be(self, data: bytes) -> bool:
        with pytest.raises(LivepatchFileError) as error:
            inspect(data, "/srv/file.ko")
        return error.value.may_be_livepatch

    def test_an_ordinary_module_is_none(self, builder: Builder) -> None:
        assert not self.may_be(builder.module("blocker.c").read_bytes())

    def test_neither_is_an_executable(self) -> None:
        data = Path(sys.executable).resolve().read_bytes()[: 2**20]
        assert not self.may_be(data)

    @pytest.mark.parametrize("data", [b"", b"\0" * 4096, b"<html>404 Not Found</html>"])
    def test_what_is_no_elf_file_may_have_been_one(self, data: bytes) -> None:
        assert self.may_be(data)

    @pytest.mark.parametrize("kept", [16, 64, 6000])
    def test_a_truncated_one(self, builder: Builder, kept: int) -> None:
        assert self.may_be(builder.module("fixes_1.c").read_bytes()[:kept])

    @pytest.mark.parametrize(
        ("offset", "value"), [(4, 1), (16, 2), (18, 243)], ids=["class", "type", "machine"]
    )
    def test_one_that_damage_makes_something_else(
        self, builder: Builder, offset: int, value: int
    ) -> None:
        image = bytearray(builder.module("fixes_1.c").read_bytes())
        image[offset] = value
        assert self.may_be(bytes(image))

    def test_one_whose_mark_is_damaged_enables_itself_still(self, builder: Builder) -> None:
        image = builder.module("fixes_1.c").read_bytes().replace(b"livepatch=Y", b"livepatchzY")
        assert self.may_be(image)

    def test_one_that_can_not_be_read(self, tmp_path: Path) -> None:
        (tmp_path / "gone.ko").symlink_to("nowhere")
        with pytest.raises(LivepatchFileError) as error:
            read_livepatch_file(tmp_path / "gone.ko")
        assert error.value.may_be_livepatch

    def test_a_directory_is_none(self, tmp_path: Path) -> None:
        with pytest.raises(LivepatchFileError) as error:
            read_livepatch_file(tmp_path)
        assert not error.value.may_be_livepatch


class TestWhatAPlanTakes:
    """A file that is read survives the way through JSON; what would not is refused here."""

    @pytest.mark.parametrize("name", [".", ".."])
    @pytest.mark.parametrize("what", ["srcversion", "depends", "module", "function", "object"])
    def test_a_name_is_one_for_the_reader_as_for_the_plan(
        self, builder: Builder, tmp_path: Path, what: str, name: str
    ) -> None:
        mod: tuple[str, ...] = ()
        function, patched = "f", "o"
        if what in ("srcversion", "depends"):
            mod = ('-D%s="%s"' % (what.upper(), name),)
        elif what == "module":
            mod = ("-UKBUILD_MODNAME", '-DKBUILD_MODNAME="%s"' % name)
        elif what == "function":
            function = name
        else:
            patched = name
        source = tmp_path / "named.c"
        source.write_text(
            """
#include "variant.h"
static struct klp_func funcs[] = { { "%s", new_function }, {} };
static struct klp_object objs[] = { { .name = "%s", .funcs = funcs }, {} };
static struct klp_patch patch = { .mod = THIS_MODULE, .objs = objs };
ENABLE(&patch);
"""
            % (function, patched)
        )
        with pytest.raises(LivepatchFileError, match="name"):
            read_livepatch_file(Builder(tmp_path).module(source, mod=mod))

    @pytest.mark.parametrize("path", ["/srv/a\u00a0b.ko", "/srv/a\nb.ko", "/srv/\udcff.ko"])
    def test_a_path_that_can_not_be_printed_is_refused_by_an_error_that_can(
        self, builder: Builder, path: str
    ) -> None:
        with pytest.raises(LivepatchFileError, match="has some that can't be printed") as error:
            inspect(builder.module("fixes_1.c").read_bytes(), path)
        assert str(error.value).isprintable() and error.value.may_be_livepatch

    @settings(
        deadline=None, max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture]
    )
    @given(
        source=st.sampled_from(["objects.c", "kpatch.c", "klp_build.c"]),
        text=st.binary(min_size=1, max_size=4),
        at=st.integers(0, 2**16),
    )
    def test_whatever_stands_in_its_texts(
        self, builder: Builder, source: str, text: bytes, at: int
    ) -> None:
        image = bytearray(builder.module(source).read_bytes())
        texts = [m.start() for m in re.finditer(rb"(?<=\0)[a-z_0-9.]{2,}(?=\0)", bytes(image))]
        start = texts[at % len(texts)]
        image[start : start + len(text)] = text
        try:
            file = inspect(bytes(image), "/srv/file.ko")
        except LivepatchFileError:
            return
        assert file_from_json(json.loads(json.dumps(file_to_json(file)))) == file


@pytest.mark.parametrize("error", [MemoryError, RecursionError, IndexError])
@pytest.mark.parametrize("where", ["livepatch_file.source_declaration", "findings._of_the_array"])
def test_whatever_goes_wrong_inside_is_a_damaged_file(
    builder: Builder, monkeypatch: pytest.MonkeyPatch, where: str, error: type[Exception]
) -> None:
    def fails(_given: object) -> None:
        raise error("out of it")

    path = builder.module("fixes_1.c")
    monkeypatch.setattr("%s.%s" % (PACKAGE, where), fails)
    with pytest.raises(LivepatchFileError) as refused:
        read_with_findings(path)
    assert str(refused.value) == "%s is damaged: %s; copy or build it again." % (
        path,
        error.__name__,
    )
    assert refused.value.may_be_livepatch


WITHOUT_PYELFTOOLS = """
import sys
sys.modules["elftools"] = None
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.file import livepatch_file
for ask in (livepatch_file.require_elftools, lambda: livepatch_file.inspect(b"", "a.ko")):
    try:
        ask()
    except livepatch_file.MissingLibraryError as error:
        print(error, error.library, "ModuleNotFoundError" in error.traceback)
"""


def test_without_pyelftools_it_imports_and_says_what_to_install() -> None:
    done = subprocess.run(
        [sys.executable, "-c", WITHOUT_PYELFTOOLS],
        env=dict(os.environ, PYTHONPATH=os.pathsep.join(sys.path)),
        capture_output=True,
        text=True,
        check=True,
    )
    said = "pyelftools is required on the controller; pip install pyelftools there. pyelftools True"
    assert done.stdout.splitlines() == [said] * 2
    assert done.stderr == ""
