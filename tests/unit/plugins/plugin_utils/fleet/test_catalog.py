# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What catalog.yml may say, and what is refused before any board is asked."""

from __future__ import annotations

import re

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
        read_index("livepatches:\n  fixes_1.ko: {number: 1\n  fixes_2.ko: {number: 2}\n")
    assert re.match(
        r"catalog.yml, line \d can't be read as YAML: while parsing a flow mapping, line 2, .*; "
        "correct it.",
        str(refused.value),
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("livepatches: &a {a: *a}", "line 1: it has an alias (*a); write out what it stands for."),
        ("a: &a {}\nb:\n  <<: *a\n", "line 3: it has an alias (*a)"),
        ("livepatches: " + "[" * 100, "line 1: it is nested more than 8 levels deep"),
        ("livepatches:\n  " + "x" * 1025, "line 2: a value has more than 1024 characters"),
        ("[" + "1," * 100_000 + "]", "line 1: it has more than 100000 keys and values"),
        ("livepatches: {}" + " " * 2**20, "catalog.yml has more than 1048576 bytes"),
        ("livepatches: !!int ''", "line 1 can't be read as YAML: '' is no value of its kind"),
        ("livepatches: !!timestamp x", "line 1 can't be read as YAML: 'x' is no value of its kind"),
        ("livepatches: !!python/name:os.system ''", "could not determine a constructor"),
        ("livepatches: {}\n---\n", "expected a single document"),
        ("livepatches: \0", "can't be read as YAML"),
        ("livepatches: \udcff", "can't be read as YAML"),
    ],
    ids=range(12),
)
def test_what_costs_more_than_it_looks_like_or_is_no_data_is_refused_in_one_sentence(text, words):
    with pytest.raises(CatalogError, match="^catalog.yml") as refused:
        read_index(text)
    assert words in str(refused.value)
    assert str(refused.value).isprintable() and len(str(refused.value)) < 500


def test_471_bytes_of_aliases_are_not_multiplied_in_the_message():
    doubled = ["a%d: &a%d [%s]" % (i, i, ("*a%d," % (i - 1)) * 9 if i else "1") for i in range(9)]
    with pytest.raises(CatalogError, match="line 2: it has an alias"):
        read_index("\n".join(doubled))


def test_a_thousand_livepatches_with_all_that_can_be_said_of_them_are_read():
    entry = "  fixes_%d.ko: {number: %d, compatible: ['xunlong,orangepi-5', 'xunlong,orangepi-5b']}"
    text = "livepatches:\n" + "\n".join(entry % (number, number) for number in range(1000))
    assert len(read_index(text)["livepatches"]) == 1000


def test_what_is_quoted_is_short():
    nested = "[" * 7 + "x" * 1000 + "]" * 7
    with pytest.raises(CatalogError) as refused:
        read_catalog([A_FILE], {"livepatches": {"fixes_1.ko": {"number": [nested] * 1000}}})
    assert "a whole one, not [" in str(refused.value) and len(str(refused.value)) < 1000


DAMAGED = {
    "path": "/catalog/fixes_2.ko",
    "reason": "/catalog/fixes_2.ko is damaged: it ends early; copy or build it again.",
    "may_be_livepatch": True,
}


def test_a_damaged_file_may_be_the_newest_and_is_refused_by_its_name():
    with pytest.raises(CatalogError) as refused:
        read_catalog([A_FILE], rejected=[DAMAGED])
    assert str(refused.value) == (
        "/catalog/fixes_2.ko is damaged: it ends early; copy or build it again. It may be the "
        "newest livepatch; mend it, or take it out of the catalog."
    )


def test_of_many_damaged_files_some_are_named():
    with pytest.raises(CatalogError, match="again. And 97 more. Each may be the newest"):
        read_catalog([A_FILE], rejected=[DAMAGED] * 100)


def test_an_ordinary_module_is_passed_over():
    ordinary = dict(DAMAGED, may_be_livepatch=False)
    assert read_catalog([A_FILE], rejected=[ordinary]).unread == ()


def test_for_a_rollback_the_others_count():
    catalog = read_catalog([A_FILE], rejected=[DAMAGED], partial=True)
    assert [file.livepatch.name for file in catalog.files] == ["fixes_1"]
    assert catalog.why_unread() == DAMAGED["reason"]


@pytest.mark.parametrize("text", ["!!binary ''", "0", "false", "[]", "!!set {}"])
def test_what_is_as_good_as_empty_but_no_dictionary_is_refused(text):
    with pytest.raises(CatalogError, match="must have livepatches and nothing else"):
        read_catalog([A_FILE], read_index(text))


@pytest.mark.parametrize("text", ["", "---", "{}"])
def test_an_empty_catalog_yml_says_nothing(text):
    assert read_catalog([A_FILE], read_index(text)).entries == {}


def test_a_file_that_makes_no_sense_is_named():
    with pytest.raises(CatalogError, match="^/catalog/fixes_1.ko can't be used: "):
        read_catalog([dict(A_FILE, depends=["."])])
