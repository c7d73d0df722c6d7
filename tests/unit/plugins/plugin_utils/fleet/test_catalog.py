# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What catalog.yml may say, and what is refused before any board is asked."""

from __future__ import annotations

import pytest

from ansible_collections.orangepi.livepatch.plugins.module_utils.shapes import file_to_json
from ansible_collections.orangepi.livepatch.plugins.module_utils.system_state import (
    Livepatch,
    SystemState,
)
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.fleet.catalog import (
    CatalogError,
    read_catalog,
    read_index,
)
from ansible_collections.orangepi.livepatch.tests.unit.plugins.boards import a_file

A_FILE = file_to_json(a_file(Livepatch("fixes_1", True, (SystemState(1, 1),), build_id="01" * 20)))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("livepatches: []", "livepatches must be a dictionary of file names"),
        ("livepatch: {fixes_1.ko: {number: 1}}", "must have livepatches and nothing else"),
        ("[fixes_1.ko]", "must have livepatches and nothing else"),
        ("livepatches: {fixes_1.ko: {}}", "fixes_1.ko needs a number, or compatible, or both"),
        ("livepatches: {fixes_1.ko: 11}", "fixes_1.ko needs a number, or compatible, or both"),
        ("livepatches: {fixes_1.ko: {number: true}}", "a whole one, not True"),
        ("livepatches: {fixes_1.ko: {number: 1.5}}", "a whole one, not 1.5"),
        ("livepatches: {fixes_1.ko: {number: , compatible: 'a,b'}}", "a whole one, not None"),
        (
            "livepatches: {fixes_1.ko: {number: 11, compatibel: 'xunlong,orangepi-5'}}",
            "fixes_1.ko has compatibel, which is not known",
        ),
        ("livepatches: {fixes_1.ko: {compatibel: 'a,b'}}", "has compatibel, which is not known"),
        ("livepatches: {fixes_1.ko: {compatible: }}", "a string, or a list of strings"),
        ("livepatches: {fixes_1.ko: {compatible: []}}", "a string, or a list of strings"),
        ("livepatches: {fixes_1.ko: {compatible: {a: b}}}", "a string, or a list of strings"),
        ("livepatches: {fixes_1.ko: {compatible: [5]}}", "5 in compatible is not of the form"),
        ("livepatches: {fixes_1.ko: {compatible: ',a'}}", "is not of the form VENDOR,MODEL"),
        (
            "livepatches: {fixes_1.ko: {number: 11, compatible: xunlong,orangepi-5}}",
            "'xunlong' in compatible is not of the form VENDOR,MODEL as in the device tree; inside "
            "braces or brackets, YAML wants quotes around it.",
        ),
        (
            "livepatches: {fixes_1.ko: {compatible: [xunlong,orangepi-5]}}",
            "'xunlong' in compatible is not of the form",
        ),
        (
            "livepatches: {fixes_l.ko: {compatible: 'xunlong,orangepi-5'}}",
            "an entry for fixes_l.ko, and the catalog no livepatch of that name; correct the name, "
            "or take the entry out.",
        ),
    ],
)
def test_a_catalog_yml_that_makes_no_sense_is_refused_even_where_one_file_fits(text, words):
    with pytest.raises(CatalogError, match="^catalog.yml") as refused:
        read_catalog([A_FILE], read_index(text))
    assert words in str(refused.value)


def test_a_catalog_yml_that_is_no_yaml_is_told_with_the_place():
    with pytest.raises(CatalogError) as refused:
        read_index("livepatches:\n  fixes_1.ko: {number: 1")
    assert str(refused.value).startswith(
        "catalog.yml can't be read as YAML: while parsing a flow mapping in "
    )
    assert "line 2" in str(refused.value)


@pytest.mark.parametrize("text", ["", "---"])
def test_an_empty_catalog_yml_says_nothing(text):
    assert read_catalog([A_FILE], read_index(text)).entries == {}


def test_a_file_that_makes_no_sense_is_named():
    with pytest.raises(CatalogError, match="^/catalog/fixes_1.ko can't be used: "):
        read_catalog([dict(A_FILE, depends=["."])])
