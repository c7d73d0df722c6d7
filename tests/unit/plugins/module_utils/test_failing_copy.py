# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""A livepatch made to fail late is the same but for the name of one function of vmlinux."""

from __future__ import annotations

import dataclasses

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ansible_collections.orangepi.livepatch.plugins.module_utils.failing_copy import (
    SYMBOL,
    FailingCopy,
)
from ansible_collections.orangepi.livepatch.plugins.module_utils.system_state import Function
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.file.livepatch_file import (
    find_failing_copy,
    inspect,
)
from ansible_collections.orangepi.livepatch.tests.unit.livepatch_sources.build import (
    MACHINES,
    Builder,
)


@pytest.mark.parametrize("machine", MACHINES)
@pytest.mark.parametrize("source", ["fixes_2.c", "kpatch.c", "klp_build.c"])
def test_one_function_of_vmlinux_is_renamed_and_nothing_else(
    builder: Builder, source: str, machine: str
) -> None:
    image = builder.module(source, machine=machine).read_bytes()
    original = inspect(image, "file").livepatch
    copy = find_failing_copy(image, "file")
    assert copy is not None
    changed = copy.apply(image)
    assert changed is not None
    assert len(changed) == len(image)
    renamed = tuple(
        dataclasses.replace(
            found,
            functions=tuple(
                Function(SYMBOL, function.position) if function.name == copy.function else function
                for function in found.functions
            ),
        )
        for found in original.objects or ()
    )
    assert renamed != original.objects
    assert inspect(changed, "file").livepatch == dataclasses.replace(original, objects=renamed)


def test_a_function_with_a_shorter_name_is_passed_over(builder: Builder) -> None:
    image = builder.module("objects.c").read_bytes()
    copy = find_failing_copy(image, "file")
    assert copy is None


def test_a_signature_which_would_not_fit_is_left_out(builder: Builder) -> None:
    image = builder.module("fixes_2.c").read_bytes()
    copy = find_failing_copy(image, "file")
    assert copy is not None
    signed = image + b"signature"
    assert copy.apply(signed) == copy.apply(image)


@given(
    st.integers(-(2**40), 2**40),
    st.text(max_size=12) | st.just("function"),
    st.integers(-9, 2**40),
    st.binary(max_size=40) | st.just(b"..function\0....."),
)
def test_only_a_name_that_is_there_is_ever_replaced(
    offset: int, function: str, size: int, image: bytes
) -> None:
    changed = FailingCopy(offset, function, size).apply(image)
    if changed is not None:
        assert image[offset:].startswith(function.encode() + b"\0")
        assert len(changed) == size <= len(image)
        assert changed[:offset] == image[:offset]
        end = offset + len(function) + 1
        assert changed[end:] == image[end:size]
