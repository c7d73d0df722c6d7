# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""findings finds what contradicts the document, and nothing else, in every layout."""

from __future__ import annotations

import random
import struct
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ansible_collections.orangepi.livepatch.plugins.module_utils.model import CALLBACKS
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.file.findings import (
    API,
    SEVERITIES,
    USAGE,
    Finding,
    findings_to_json,
    read_with_findings,
)
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.file.livepatch_file import (
    LivepatchFileError,
)
from ansible_collections.orangepi.livepatch.tests.unit.livepatch_sources.build import Builder

FOLLOWED = ("x86_64", "aarch64")
LAYOUTS = [
    ("-O0",),
    ("-O2",),
    ("-Os",),
    ("-O2", "-fno-inline"),
    ("-O2", "-ffunction-sections", "-fdata-sections"),
]
# As kernels are built that mitigate what processors speculate about, or protect branches.
KERNEL_LAYOUTS = {
    "x86_64": (
        "-mindirect-branch=thunk-extern",
        "-mfunction-return=thunk-extern",
        "-fcf-protection=branch",
        "-pg",
        "-mfentry",
        "-fno-jump-tables",
    ),
    "aarch64": ("-mbranch-protection=pac-ret+bti", "-fpatchable-function-entry=4,2"),
}
RARE_LAYOUTS = {
    "x86_64": [("-O1",), ("-O3", "-funroll-loops"), ("-fPIC",), ("-O2", "-Dstatic=")],
    "aarch64": [
        ("-O1",),
        ("-O3", "-funroll-loops"),
        ("-fPIC",),
        ("-O2", "-Dstatic="),
        ("-O2", "-mcmodel=tiny"),
        ("-O2", "-mcmodel=large"),
    ],
}

NO_GET, NO_PREV = "%s_without_get_state", "%s_without_get_prev_state"
PRE_PATCH_NO_PREV, POST_PATCH_NO_PREV = NO_PREV % "pre_patch", NO_PREV % "post_patch"
POST_UNPATCH_NO_PREV = NO_PREV % "post_unpatch"


def layouts(
    builder: Builder, source: str, machine: str, *options: str, rare: bool = False
) -> Iterator[tuple[str, Path]]:
    """A source in every layout, stripped as well."""
    for layout in [*LAYOUTS, KERNEL_LAYOUTS[machine], *(RARE_LAYOUTS[machine] if rare else [])]:
        path = builder.module(source, *layout, *options, machine=machine)
        yield " ".join(layout), path
        if layout in (("-O2",), ("-O0",)):
            for option in ("--strip-unneeded", "--discard-all"):
                stripped = path.parent / option / path.name
                stripped.parent.mkdir(exist_ok=True)
                builder.run(machine, "strip", option, "-o", stripped, path)
                yield " ".join((*layout, option)), stripped


def found(path: Path) -> tuple[Finding, ...]:
    return read_with_findings(path)[1]


def severities(path: Path) -> dict[str, str]:
    findings = found(path)
    assert len({f.finding for f in findings}) == len(findings)
    return {finding.finding: finding.severity for finding in findings}


def check(
    builder: Builder,
    source: str,
    machine: str,
    expected: dict[str, str],
    *options: str,
    rare: bool = False,
) -> None:
    for layout, path in layouts(builder, source, machine, *options, rare=rare):
        assert (layout, severities(path)) == (layout, expected)


@pytest.mark.parametrize("machine", FOLLOWED)
class TestRight:
    """What the document allows has no findings."""

    @pytest.mark.parametrize(
        "source",
        ["fixes_1", "fixes_2", "extra_state", "fixes_0_stateless", "cmdline", "blocked_cumulative"],
    )
    def test_the_labs_livepatches(self, builder: Builder, source: str, machine: str) -> None:
        check(builder, source + ".c", machine, {}, rare=True)

    @pytest.mark.parametrize(
        "options",
        [
            (),
            ("-DVERSION=1",),
            ("-DNO_PRE_PATCH", "-DNO_POST_UNPATCH"),
            ("-DNO_POST_PATCH", "-DNO_PRE_UNPATCH"),
            ("-DNEW_FUNCTION_USES_STATE",),
            ("-DSTATES={.id=1,.version=2},{.id=2,.version=1},{},{},{}",),
        ],
        ids=" ".join,
    )
    def test_the_document(self, builder: Builder, options: tuple[str, ...], machine: str) -> None:
        check(builder, "document.c", machine, {}, *options, rare=not options)

    @pytest.mark.parametrize(
        "way",
        [
            "OPS",
            "WORK",
            "ARGUMENT",
            "SWITCH",
            "TAIL",
            "COLD",
            "CLEANUP",
            "STATIC_KEY",
            "CACHED",
        ],
    )
    def test_ways_that_are_hard_to_follow(self, builder: Builder, way: str, machine: str) -> None:
        check(builder, "indirect.c", machine, {}, "-D" + way, rare=True)

    @pytest.mark.parametrize(
        ("vmlinux", "ext4"),
        [
            ("state: all", "other: all"),
            ("other: all", "state: all"),
            ("state: all", "other: pre_patch"),
            ("other: pre_patch", "state: all"),
            ("state: post_patch pre_unpatch", "other: pre_patch post_unpatch"),
            ("state: post_patch pre_unpatch post_unpatch", "state: pre_patch"),
            ("state: pre_patch post_unpatch", "state: post_patch pre_unpatch"),
        ],
    )
    def test_objects_that_share_the_work(
        self, builder: Builder, vmlinux: str, ext4: str, machine: str
    ) -> None:
        check(builder, "shared_work.c", machine, {}, *shared(vmlinux, ext4))

    @pytest.mark.parametrize("source", ["kpatch.c", "klp_build.c", "objects.c", "dynamic.c"])
    def test_what_has_no_states_or_unknown_ones(
        self, builder: Builder, source: str, machine: str
    ) -> None:
        assert severities(builder.module(source, machine=machine)) == {}


def shared(vmlinux: str, ext4: str) -> list[str]:
    """The options for shared_work.c: "state: pre_patch" is state_pre_patch() and so on."""
    options = []
    for macro, text in (("VMLINUX", vmlinux), ("EXT4", ext4)):
        fields = []
        for part in text.split(", "):
            which, _colon, kinds = part.partition(": ")
            for kind in CALLBACKS if kinds == "all" else kinds.split():
                fields.append(".%s=%s_%s" % (kind, which, kind))
        options.append("-D%s=%s" % (macro, ",".join(fields)))
    return options


@pytest.mark.parametrize("machine", FOLLOWED)
class TestWrong:
    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            ("NO_CALLBACKS", {"states_without_callbacks": "warning"}),
            ("NO_CALLBACKS NEW_FUNCTION_USES_STATE", {"states_without_callbacks": "note"}),
            ("NO_PRE_UNPATCH", {"post_patch_without_pre_unpatch": "warning"}),
            ("NO_POST_UNPATCH", {"pre_patch_without_post_unpatch": "warning"}),
            ("PRE_PATCH_IGNORES_PREV", {PRE_PATCH_NO_PREV: "warning"}),
            ("POST_PATCH_IGNORES_PREV", {POST_PATCH_NO_PREV: "warning"}),
            ("POST_UNPATCH_IGNORES_PREV", {POST_UNPATCH_NO_PREV: "error"}),
            (
                "PRE_PATCH_IGNORES_PREV POST_PATCH_IGNORES_PREV",
                {PRE_PATCH_NO_PREV: "error", POST_PATCH_NO_PREV: "error"},
            ),
            ("POST_PATCH_IGNORES_PREV NO_PRE_PATCH", {POST_PATCH_NO_PREV: "error"}),
            ("VERSION=1 PRE_PATCH_IGNORES_PREV", {PRE_PATCH_NO_PREV: "note"}),
            ("VERSION=1 POST_PATCH_IGNORES_PREV", {POST_PATCH_NO_PREV: "note"}),
            ("VERSION=0 POST_UNPATCH_IGNORES_PREV", {POST_UNPATCH_NO_PREV: "note"}),
            ("PRE_PATCH_DOES_SOMETHING_ELSE", {NO_GET % "pre_patch": "warning"}),
            ("POST_PATCH_DOES_SOMETHING_ELSE", {NO_GET % "post_patch": "warning"}),
            ("PRE_UNPATCH_DOES_SOMETHING_ELSE", {NO_GET % "pre_unpatch": "warning"}),
            (
                "POST_UNPATCH_DOES_SOMETHING_ELSE",
                {NO_GET % "post_unpatch": "warning", POST_UNPATCH_NO_PREV: "error"},
            ),
            (
                "POST_PATCH_DOES_SOMETHING_ELSE POST_PATCH_ONLY_LOOKS",
                {NO_GET % "post_patch": "note"},
            ),
            ("STATES={.id=1,.version=2},{.id=0,.version=3},{}", {"id_zero": "error"}),
            ("STATES={.version=3},{.id=1,.version=2},{}", {"id_zero": "error"}),
            ("STATES={.id=1,.version=2},{.id=2},{.id=1},{}", {"duplicated_id": "error"}),
        ],
    )
    def test_one_thing_taken_away(
        self, builder: Builder, options: str, expected: dict[str, str], machine: str
    ) -> None:
        macros = ["-D" + macro for macro in options.split()]
        check(builder, "document.c", machine, expected, *macros)

    def test_entries_behind_an_empty_one(self, builder: Builder, machine: str) -> None:
        """Only the array's symbol tells that they belong to it."""
        states = "-DSTATES={.id=1,.version=2},{},{.id=2,.version=1},{}"
        path = builder.module("document.c", states, machine=machine)
        assert severities(path) == {"id_zero": "error"}

    def test_a_switch_without_the_right_case(self, builder: Builder, machine: str) -> None:
        expected = {NO_GET % kind: "warning" for kind in CALLBACKS}
        for kind in ("pre_patch", "post_patch", "post_unpatch"):
            expected[NO_PREV % kind] = "error"
        check(builder, "indirect.c", machine, expected, "-DSWITCH", "-DSWITCH_WRONG")

    @pytest.mark.parametrize(
        ("vmlinux", "ext4", "expected"),
        [
            (
                "state: pre_patch post_patch pre_unpatch",
                "state: post_unpatch",
                {"pre_patch_without_post_unpatch": "warning"},
            ),
            (
                "state: post_patch pre_unpatch, other: pre_patch post_unpatch",
                "other: pre_patch",
                {NO_GET % "pre_patch": "warning", NO_GET % "post_unpatch": "warning"},
            ),
            (
                "state: pre_patch post_unpatch, other: post_patch pre_unpatch",
                "other: all",
                {NO_GET % "post_patch": "warning", NO_GET % "pre_unpatch": "warning"},
            ),
        ],
    )
    def test_objects_that_share_the_work(
        self, builder: Builder, vmlinux: str, ext4: str, expected: dict[str, str], machine: str
    ) -> None:
        check(builder, "shared_work.c", machine, expected, *shared(vmlinux, ext4))

    def test_the_labs_failing_livepatch(self, builder: Builder, machine: str) -> None:
        path = builder.module("fails_pre_patch.c", machine=machine)
        assert severities(path) == {
            PRE_PATCH_NO_PREV: "error",
            "pre_patch_without_post_unpatch": "warning",
            NO_GET % "pre_patch": "warning",
        }


class TestWhatIsSaid:
    def test_the_message(self, builder: Builder) -> None:
        path = builder.module("document.c", "-DPOST_PATCH_IGNORES_PREV", "-DNO_PRE_PATCH")
        assert findings_to_json(found(path)) == [
            {
                "finding": "post_patch_without_get_prev_state",
                "severity": "error",
                "section": "4. Expected usage",
                "message": "post_patch() for vmlinux of document never reaches "
                "klp_get_prev_state(), so that it can't take over system state 1 at version 2 "
                "from a livepatch that is being replaced; look there first",
            }
        ]

    def test_the_gravest_first(self, builder: Builder) -> None:
        states = "-DSTATES={.id=1,.version=2},{.id=1,.version=1},{.version=9}"
        path = builder.module(
            "document.c", states, "-DPRE_UNPATCH_DOES_SOMETHING_ELSE", "-DPOST_PATCH_IGNORES_PREV"
        )
        order = [SEVERITIES.index(finding.severity) for finding in found(path)]
        assert order == sorted(order) and len(order) == 4
        assert {finding.section for finding in found(path)} == {API, USAGE}


class TestWhatCantBeFollowed:
    def test_another_machine_may_do_everything(self, builder: Builder) -> None:
        options = ["-DPOST_PATCH_IGNORES_PREV", "-DPRE_UNPATCH_DOES_SOMETHING_ELSE"]
        assert severities(builder.module("document.c", *options, machine="s390x")) == {}

    def test_but_not_what_the_module_never_mentions(self, builder: Builder) -> None:
        options = ["-D%s_IGNORES_PREV" % kind for kind in ("PRE_PATCH", "POST_PATCH")]
        options.append("-DPOST_UNPATCH_IGNORES_PREV")
        path = builder.module("document.c", *options, machine="s390x")
        assert set(severities(path)) == {
            PRE_PATCH_NO_PREV,
            POST_PATCH_NO_PREV,
            POST_UNPATCH_NO_PREV,
        }

    def test_a_module_that_it_depends_on_may_do_everything(self, builder: Builder) -> None:
        mod = ('-DDEPENDS="helpers"',)
        options = ("-DPOST_PATCH_IGNORES_PREV", "-DPOST_UNPATCH_IGNORES_PREV")
        assert severities(builder.module("document.c", *options, mod=mod)) == {}


def sections(image: bytes) -> dict[str, tuple[int, int]]:
    """Offset and size of every section of a little-endian file, by name."""
    (start,) = struct.unpack_from("<Q", image, 40)
    count, strings = struct.unpack_from("<HH", image, 60)
    headers = [struct.unpack_from("<IIQQQQ", image, start + 64 * i) for i in range(count)]
    names = headers[strings][4]
    return {
        image[names + h[0] : image.index(b"\0", names + h[0])].decode(): (h[4], h[5])
        for h in headers
    }


@pytest.mark.parametrize("machine", FOLLOWED)
class TestHostile:
    @pytest.mark.parametrize("name", [".text", ".rela.text", ".symtab", ".data", ".rela.data"])
    def test_random_damage(self, builder: Builder, tmp_path: Path, name: str, machine: str) -> None:
        """Anything but another exception."""
        image = builder.module("document.c", machine=machine).read_bytes()
        offset, size = sections(image)[name]
        generator = random.Random(name)
        path = tmp_path / "damaged.ko"
        for _round in range(150):
            changed = bytearray(image)
            for _byte in range(generator.choice((1, 4, 32))):
                changed[offset + generator.randrange(size)] = generator.randrange(256)
            path.write_bytes(changed)
            try:
                read_with_findings(path)
            except LivepatchFileError:
                continue

    @pytest.mark.parametrize("padding", ["nop", "jumps", "calls", "loads"])
    def test_endless_code_ends(
        self, builder: Builder, tmp_path: Path, padding: str, machine: str
    ) -> None:
        """A megabyte of instructions, each of which leads to more."""
        words = {
            ("nop", "x86_64"): ".fill 1000000, 1, 0x90",
            ("nop", "aarch64"): ".fill 250000, 4, 0xd503201f",
            ("jumps", "x86_64"): ".rept 60000; jz . + 30001; .endr",
            ("jumps", "aarch64"): ".rept 250000; cbz x0, . + 16384; .endr",
            ("calls", "x86_64"): ".rept 60000; call . + 30001; .endr",
            ("calls", "aarch64"): ".rept 250000; bl . + 16384; .endr",
            ("loads", "x86_64"): ".rept 60000; mov objs(%rip), %rax; .endr",
            ("loads", "aarch64"): ".rept 60000; adrp x0, objs; add x0, x0, :lo12:objs; "
            "ldr x1, [x0, 8]!; cbz x1, . - 12; .endr",
        }
        source = tmp_path / "endless.c"
        text = (Path(__file__).parents[3] / "livepatch_sources" / "document.c").read_text()
        body = 'static int pre_patch(struct klp_object *obj)\n{\n\tasm volatile("%s");'
        source.write_text(
            text.replace(body.partition("\tasm")[0], body % words[padding, machine] + "\n", 2)
        )
        path = builder.module(source, "-O1", machine=machine)
        start = time.process_time()
        read_with_findings(path)
        assert time.process_time() - start < 2
