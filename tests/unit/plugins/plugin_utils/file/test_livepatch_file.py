# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""livepatch_file reads what the C sources say, however they were compiled."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import os
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
from ansible_collections.orangepi.livepatch.plugins.module_utils.system_state import (
    UINT_MAX,
    ULONG_MAX,
    Function,
    Livepatch,
    Object,
    SystemState,
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

ALL_CALLBACKS = ("pre_patch", "post_patch", "pre_unpatch", "post_unpatch")


def livepatch(path: Path) -> Livepatch:
    """What a file declares, without what differs from build to build."""
    return dataclasses.replace(read_livepatch_file(path).livepatch, build_id=None)


def states(*pairs: tuple[int, int]) -> tuple[SystemState, ...]:
    return tuple(SystemState(id, version) for id, version in pairs)


def vmlinux(function: str, *callbacks: str) -> Object:
    return Object("vmlinux", (Function(function),), callbacks)


CMDLINE = vmlinux("cmdline_proc_show")
CMDLINE_WITH_CALLBACKS = vmlinux("cmdline_proc_show", *ALL_CALLBACKS)
BLOCKER = Object("blocker", (Function("blocker_wait"),))

LAB = {
    "fixes_0_stateless": Livepatch("fixes_0_stateless", True, (), (CMDLINE,)),
    "fixes_1": Livepatch("fixes_1", True, states((1, 1)), (CMDLINE_WITH_CALLBACKS,)),
    "fixes_2": Livepatch("fixes_2", True, states((1, 2), (2, 1)), (CMDLINE_WITH_CALLBACKS,)),
    "cmdline": Livepatch("cmdline", False, (), (CMDLINE,)),
    "extra_state": Livepatch(
        "extra_state", False, states((7, 1)), (vmlinux("version_proc_show", *ALL_CALLBACKS),)
    ),
    "fails_pre_patch": Livepatch(
        "fails_pre_patch",
        True,
        states((1, 2), (2, 1)),
        (vmlinux("cmdline_proc_show", "pre_patch"),),
    ),
    "blocked": Livepatch("blocked", False, (), (BLOCKER,)),
    "blocked_cumulative": Livepatch(
        "blocked_cumulative", True, states((1, 2), (2, 1)), (CMDLINE_WITH_CALLBACKS, BLOCKER)
    ),
}

OBJECTS = (
    Object(
        "vmlinux",
        (
            Function("unique", 1),
            Function("first", 1),
            Function("second", 2),
            Function("last", ULONG_MAX),
        ),
        ("pre_patch", "post_unpatch"),
    ),
    Object("ext4", (Function("ext4_sync_file"),)),
    Object("dm_mod", (), ("post_patch", "pre_unpatch")),
)


class TestEveryMachine:
    @pytest.mark.parametrize("machine", MACHINES)
    @pytest.mark.parametrize("name", LAB)
    def test_the_labs_livepatches(self, builder: Builder, name: str, machine: str) -> None:
        assert livepatch(builder.module(name + ".c", machine=machine)) == LAB[name]

    @pytest.mark.parametrize("machine", MACHINES)
    def test_objects_functions_positions_and_callbacks(
        self, builder: Builder, machine: str
    ) -> None:
        assert livepatch(builder.module("objects.c", machine=machine)).objects == OBJECTS

    @pytest.mark.parametrize("machine", MACHINES)
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

    @pytest.mark.parametrize("machine", MACHINES)
    def test_the_shape_survives_json(self, builder: Builder, machine: str) -> None:
        for source in ("fixes_2.c", "objects.c", "dynamic.c", "kpatch.c", "klp_build.c"):
            file = read_livepatch_file(builder.module(source, machine=machine))
            assert file_from_json(json.loads(json.dumps(file_to_json(file)))) == file

    @pytest.mark.parametrize(
        ("machine", "abs64", "arch"), [(21, 38, "ppc64le"), (258, 2, "loongarch64")]
    )
    def test_machines_without_a_compiler_here(
        self, builder: Builder, machine: int, abs64: int, arch: str
    ) -> None:
        """Same format, same order of bytes, another number for a pointer's relocation."""
        image = bytearray(builder.module("objects.c").read_bytes())
        struct.pack_into("<H", image, 18, machine)
        for offset, size in tables(bytes(image), 4):
            for at in range(offset + 8, offset + size, 24):
                if struct.unpack_from("<I", image, at)[0] == 1:
                    struct.pack_into("<I", image, at, abs64)
        file = inspect(bytes(image), "file")
        assert file.arch == arch
        assert file.livepatch.objects == OBJECTS


def tables(image: bytes, sh_type: int) -> list[tuple[int, int]]:
    """Offset and size of the sections of a type, in a little-endian file."""
    (start,) = struct.unpack_from("<Q", image, 40)
    (count,) = struct.unpack_from("<H", image, 60)
    headers = [struct.unpack_from("<IIQQQQ", image, start + 64 * i) for i in range(count)]
    return [(header[4], header[5]) for header in headers if header[1] == sh_type]


class TestHoweverItWasCompiled:
    @pytest.mark.parametrize("machine", MACHINES)
    @pytest.mark.parametrize(
        "options",
        [
            ("-O0",),
            ("-Os",),
            ("-O3", "-g"),
            ("-g", "-gdwarf-4"),
            ("-g", "-gdwarf-5", "-fno-debug-types-section"),
            ("-fdata-sections", "-ffunction-sections"),
            ("-fPIC", "-fvisibility=hidden"),
            ("-fno-section-anchors", "-fno-merge-constants"),
            # No .data section symbol is used: static variables become global.
            ("-Dstatic=",),
        ],
        ids=" ".join,
    )
    @pytest.mark.parametrize("source", ["blocked_cumulative", "objects"])
    def test_the_answer_is_the_same(
        self, builder: Builder, source: str, options: tuple[str, ...], machine: str
    ) -> None:
        plain = livepatch(builder.module(source + ".c", machine=machine))
        assert livepatch(builder.module(source + ".c", *options, machine=machine)) == plain

    @pytest.mark.parametrize("machine", MACHINES)
    @pytest.mark.parametrize("option", ["--strip-debug", "--strip-unneeded"])
    @pytest.mark.parametrize("name", LAB)
    def test_stripped(
        self, builder: Builder, tmp_path: Path, name: str, option: str, machine: str
    ) -> None:
        path = builder.module(name + ".c", "-g", machine=machine)
        builder.run(machine, "strip", option, "-o", tmp_path / "stripped.ko", path)
        assert livepatch(tmp_path / "stripped.ko") == LAB[name]

    @pytest.mark.parametrize("machine", MACHINES)
    @pytest.mark.parametrize(
        "section", [".data..ro_after_init", ".data.rel.ro", ".rodata", ".data..read_mostly"]
    )
    def test_states_in_another_section(self, builder: Builder, section: str, machine: str) -> None:
        where = '-DSTATE_SECTION=__attribute__((section("%s")))' % section
        if section == ".rodata":
            where = "-DSTATE_SECTION=const"
        path = builder.module(
            "states.c", where, "-DSTATES={.id=5,.version=6},{.id=7},{}", machine=machine
        )
        assert livepatch(path).states == states((5, 6), (7, 0))


class TestStates:
    @pytest.mark.parametrize("machine", MACHINES)
    def test_extreme_ids_and_versions(self, builder: Builder, machine: str) -> None:
        path = builder.module(
            "states.c", "-DSTATES={.id=~0UL,.version=~0U},{.id=1UL<<63},{}", machine=machine
        )
        assert livepatch(path).states == states((ULONG_MAX, UINT_MAX), (2**63, 0))

    def test_duplicated_ids_are_all_kept_in_order(self, builder: Builder) -> None:
        path = builder.module("states.c", "-DSTATES={.id=1,.version=2},{2},{.id=1,.version=1},{}")
        assert livepatch(path).states == states((1, 2), (2, 0), (1, 1))

    def test_static_data_is_no_part_of_the_answer(self, builder: Builder) -> None:
        path = builder.module("states.c", "-DSTATES={.id=1,.version=1,.data=&data},{}")
        assert livepatch(path).states == states((1, 1))

    def test_entries_after_the_empty_one_do_not_count(self, builder: Builder) -> None:
        path = builder.module("states.c", "-DSTATES={.id=1,.version=1},{},{.id=2,.version=2},{}")
        assert livepatch(path).states == states((1, 1))

    def test_an_empty_array_is_known_to_be_empty(self, builder: Builder) -> None:
        assert livepatch(builder.module("states.c", "-DSTATES={}")).states == ()

    def test_no_array_is_known_to_be_empty(self, builder: Builder) -> None:
        assert livepatch(builder.module("cmdline.c")).states == ()

    def test_an_array_that_the_code_fills_is_unknown(self, builder: Builder) -> None:
        patch = livepatch(builder.module("filled.c"))
        assert patch.states is None
        assert patch.objects is None
        assert patch.replace is True

    def test_an_id_that_is_an_address_is_unknown(self, builder: Builder) -> None:
        assert livepatch(builder.module("filled.c", "-DRELOCATED_ID")).states is None

    def test_an_array_without_an_end_is_an_error(self, builder: Builder) -> None:
        path = builder.module(
            "states.c", "-fdata-sections", "-DSTATES={.id=1,.version=1},{.id=2,.version=2}"
        )
        with pytest.raises(LivepatchFileError, match="is damaged: "):
            livepatch(path)

    @pytest.mark.parametrize("machine", MACHINES)
    @settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
    @given(
        pairs=st.lists(st.tuples(st.integers(1, ULONG_MAX), st.integers(0, UINT_MAX)), max_size=16),
        replace=st.booleans(),
    )
    def test_any_array_written_into_a_template(
        self, builder: Builder, machine: str, pairs: list[tuple[int, int]], replace: bool
    ) -> None:
        """Seventeen entries, as the lab's random livepatches have them."""
        mark = 0x1122334455667788
        template = builder.module(
            "states.c",
            "-DREPLACE=true",
            "-DSTATES={.id=%dUL},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{}" % mark,
            machine=machine,
        ).read_bytes()
        order = ">" if machine == "s390x" else "<"
        at = template.index(struct.pack(order + "Q", mark))
        image = bytearray(template)
        for index, (id, version) in enumerate([*pairs, (0, 0)]):
            struct.pack_into(order + "QIIQ", image, at + 24 * index, id, version, 0, 0)
        if not replace:
            image[replace_byte(builder, machine, template)] = 0
        patch = inspect(bytes(image), "file").livepatch
        assert patch.states == states(*pairs)
        assert patch.replace is replace


def replace_byte(builder: Builder, machine: str, template: bytes) -> int:
    """Where the template's `replace` is: the byte that differs in a build without it."""
    other = builder.module(
        "states.c",
        "-DREPLACE=false",
        "-DSTATES={.id=%dUL},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{},{}" % 0x1122334455667788,
        machine=machine,
    ).read_bytes()
    pairs = enumerate(zip(template, other, strict=True))
    # Past the build id, which differs too.
    (at,) = (at for at, (one, zero) in pairs if (one, zero) == (1, 0) and at > 0x64)
    return at


class TestWhichStructureIsThePatch:
    @pytest.mark.parametrize("machine", MACHINES)
    @pytest.mark.parametrize("option", ["-O0", "-O2"])
    def test_others_that_point_to_their_module_are_told_apart(
        self, builder: Builder, option: str, machine: str
    ) -> None:
        patch = livepatch(builder.module("owners.c", option, machine=machine))
        assert patch == Livepatch("owners", False, states((3, 4)), (vmlinux("schedule"),))

    @pytest.mark.parametrize("source", ["several", "dynamic"])
    def test_what_only_the_code_knows_is_unknown(self, builder: Builder, source: str) -> None:
        assert livepatch(builder.module(source + ".c")) == Livepatch(source, None, None, None)


class TestStructureSizes:
    """A kernel with debugging options has a bigger kobject, and so bigger structures."""

    @pytest.mark.parametrize("machine", MACHINES)
    @pytest.mark.parametrize("size", [72, 240])
    @pytest.mark.parametrize("types", ["", "-g", "-gdwarf-4", "-gbtf"])
    def test_from_type_information_or_else_deduced(
        self, builder: Builder, types: str, size: int, machine: str
    ) -> None:
        options = ["-DKOBJECT_SIZE=%d" % size, "-fno-common", *filter(None, [types])]
        patch = livepatch(builder.module("objects.c", *options, machine=machine))
        if types:
            assert patch.objects == OBJECTS
        else:
            # Nothing tells the size of the one empty entry of dm_mod's functions.
            assert patch.objects is None
        patch = livepatch(builder.module("blocked_cumulative.c", *options, machine=machine))
        assert patch == LAB["blocked_cumulative"]

    @pytest.mark.parametrize("types", ["-g", "-gbtf"])
    def test_entries_after_the_empty_one_do_not_count(self, builder: Builder, types: str) -> None:
        options = ["-DHOLE", "-DKOBJECT_SIZE=240"]
        with_types = livepatch(builder.module("holes.c", *options, types))
        assert with_types.objects == (
            Object("vmlinux", (Function("schedule"), Function("yield"))),
            Object("ext4", (Function("ext4_sync_file"),)),
        )
        assert livepatch(builder.module("holes.c", *options)).objects is None

    def test_the_usual_size_is_known_by_the_symbol_of_the_patch(self, builder: Builder) -> None:
        assert livepatch(builder.module("holes.c")).objects == (
            Object("vmlinux", (Function("schedule"), Function("yield"))),
            Object("ext4", (Function("ext4_sync_file"),)),
        )

    def test_without_symbols_an_empty_array_is_unknown(
        self, builder: Builder, tmp_path: Path
    ) -> None:
        path = builder.module("objects.c")
        builder.run("x86_64", "strip", "--strip-unneeded", "-o", tmp_path / "stripped.ko", path)
        patch = livepatch(tmp_path / "stripped.ko")
        assert (patch.replace, patch.states, patch.objects) == (True, (), None)


class TestGenerators:
    @pytest.mark.parametrize("machine", MACHINES)
    def test_kpatch_build(self, builder: Builder, machine: str) -> None:
        path = builder.module("kpatch.c", machine=machine)
        assert read_livepatch_file(path).generator == "kpatch-build"
        assert livepatch(path) == Livepatch(
            "kpatch",
            None,
            (),
            (
                Object(
                    "vmlinux",
                    (Function("schedule"), Function("cmdline_proc_show", 3)),
                    ("pre_patch",),
                ),
                Object("ext4", (Function("ext4_sync_file"),), ("post_unpatch",)),
            ),
        )

    @pytest.mark.parametrize("machine", MACHINES)
    @pytest.mark.parametrize("prefix", [".init.klp_", "__klp_"])
    def test_klp_build(self, builder: Builder, prefix: str, machine: str) -> None:
        path = builder.module("klp_build.c", '-DPREFIX="%s"' % prefix, machine=machine)
        assert read_livepatch_file(path).generator == "klp-build"
        assert livepatch(path) == Livepatch(
            "klp_build",
            None,
            (),
            (
                Object(
                    "vmlinux",
                    (Function("schedule"), Function("cmdline_proc_show", 2)),
                    ("pre_patch",),
                ),
                Object("ext4", (Function("ext4_sync_file"),), ("post_unpatch",)),
            ),
        )


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
