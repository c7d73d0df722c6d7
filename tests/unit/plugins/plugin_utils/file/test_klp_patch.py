# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A static struct klp_patch is read as the C source says it, however that was compiled."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

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
    inspect,
)
from ansible_collections.orangepi.livepatch.tests.unit.livepatch_sources.build import (
    MACHINES,
    Builder,
)
from ansible_collections.orangepi.livepatch.tests.unit.plugins.plugin_utils.file.declared import (
    livepatch,
)

ALL_CALLBACKS = ("pre_patch", "post_patch", "pre_unpatch", "post_unpatch")


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
    def test_from_type_information(self, builder: Builder, size: int, machine: str) -> None:
        options = ["-gbtf", "-DKOBJECT_SIZE=%d" % size]
        for source, objects in (
            ("objects.c", OBJECTS),
            ("blocked_cumulative.c", LAB["blocked_cumulative"].objects),
        ):
            assert livepatch(builder.module(source, *options, machine=machine)).objects == objects

    @pytest.mark.parametrize("machine", MACHINES)
    @pytest.mark.parametrize("size", [72, 240])
    def test_or_else_from_the_distance_between_entries(
        self, builder: Builder, size: int, machine: str
    ) -> None:
        option = "-DKOBJECT_SIZE=%d" % size
        patch = livepatch(builder.module("blocked_cumulative.c", option, machine=machine))
        assert patch == LAB["blocked_cumulative"]

    @pytest.mark.parametrize("machine", MACHINES)
    @pytest.mark.parametrize("size", [72, 240])
    @pytest.mark.parametrize("debug", [[], ["-g"]], ids=["", "-g"])
    def test_or_else_unknown(
        self, builder: Builder, debug: list[str], size: int, machine: str
    ) -> None:
        """Nothing tells the size of the one empty entry of dm_mod's functions."""
        options = [*debug, "-DKOBJECT_SIZE=%d" % size]
        patch = livepatch(builder.module("objects.c", *options, machine=machine))
        assert (patch.replace, patch.states, patch.objects) == (True, (), None)

    def test_entries_after_the_empty_one_do_not_count(self, builder: Builder) -> None:
        options = ["-DHOLE", "-DKOBJECT_SIZE=240"]
        with_types = livepatch(builder.module("holes.c", *options, "-gbtf"))
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
