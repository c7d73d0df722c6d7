# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""Compression is undone within bounds, and the signature is read as modinfo reads it."""

from __future__ import annotations

import contextlib
import gzip
import lzma
import shutil
import struct
import subprocess
import sys
import zlib
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ansible_collections.orangepi.livepatch.plugins.plugin_utils.file.container import (
    MAX_MODULE,
    ContainerError,
    Signature,
    compression,
    decompress,
    split_signature,
)
from ansible_collections.orangepi.livepatch.plugins.plugin_utils.file.livepatch_file import (
    LivepatchFileError,
    inspect,
    module_image,
)
from ansible_collections.orangepi.livepatch.tests.unit.livepatch_sources.build import Builder
from ansible_collections.orangepi.livepatch.tests.unit.plugins.plugin_utils.file.compress import (
    COMPRESSORS,
    READABLE,
    zstd,
)

MAGIC = b"~Module signature appended~\n"


@pytest.fixture(scope="session")
def module(builder: Builder) -> bytes:
    return builder.module("fixes_1.c").read_bytes()


class TestCompression:
    @pytest.mark.parametrize("name", READABLE)
    def test_the_kernel_gets_what_was_compressed(self, module: bytes, name: str) -> None:
        stored = COMPRESSORS[name](module)
        assert compression(stored) == name
        assert module_image(stored) == module

    @pytest.mark.parametrize("name", READABLE)
    def test_the_file_is_told_by_its_content(self, module: bytes, name: str) -> None:
        stored = COMPRESSORS[name](module)
        file = inspect(stored, "no-suffix")
        assert file.compression == name
        assert file.size == len(stored)
        assert file.livepatch == inspect(module, "plain").livepatch

    def test_none(self, module: bytes) -> None:
        assert compression(module) is None
        assert module_image(module) is module

    @pytest.mark.parametrize("name", READABLE)
    def test_a_truncated_file_is_damaged(self, module: bytes, name: str) -> None:
        stored = COMPRESSORS[name](module)
        for length in (len(stored) - 1, len(stored) // 2, 20):
            with pytest.raises(LivepatchFileError, match="^f is damaged: its %s comp" % name):
                module_image(stored[:length], "f")

    @pytest.mark.parametrize("name", READABLE)
    def test_a_changed_file_is_damaged(self, module: bytes, name: str) -> None:
        stored = bytearray(COMPRESSORS[name](module))
        for at in range(len(stored) // 2, len(stored) // 2 + 8):
            stored[at] ^= 0xFF
        with pytest.raises(LivepatchFileError, match="^f is damaged: its %s comp" % name):
            module_image(bytes(stored), "f")

    @pytest.mark.parametrize("name", ["xz", "gz"])
    def test_padding_is_allowed_and_anything_else_is_not(self, module: bytes, name: str) -> None:
        stored = COMPRESSORS[name](module)
        assert decompress(stored + bytes(512)) == module
        with pytest.raises(ContainerError, match="5 bytes follow its end"):
            decompress(stored + b"after")

    @pytest.mark.parametrize("name", READABLE)
    def test_a_bomb_is_refused(self, name: str) -> None:
        bomb = COMPRESSORS[name](bytes(MAX_MODULE + 1))
        assert len(bomb) < 2**17
        with pytest.raises(LivepatchFileError, match="is more than 64 MiB uncompressed"):
            inspect(bomb, "bomb")

    @pytest.mark.parametrize("name", READABLE)
    def test_as_much_as_is_allowed(self, name: str) -> None:
        assert len(decompress(COMPRESSORS[name](bytes(MAX_MODULE)))) == MAX_MODULE

    def test_compressed_twice_is_no_elf_file(self, module: bytes) -> None:
        with pytest.raises(LivepatchFileError, match="is not an ELF file"):
            inspect(lzma.compress(gzip.compress(module)), "twice")

    def test_without_a_library_for_zstd_it_says_what_to_install(
        self, module: bytes, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        for library in ("compression", "zstandard"):
            monkeypatch.setitem(sys.modules, library, None)
        with pytest.raises(LivepatchFileError, match=r"pip install zstandard there\.$"):
            inspect(zstd(module), "file")

    @settings(deadline=None)
    @given(data=st.binary(max_size=200), name=st.sampled_from(["xz", "gz"]))
    def test_anything_else_is_one_error(self, data: bytes, name: str) -> None:
        magic = {"xz": b"\xfd7zXZ\0", "gz": b"\x1f\x8b"}[name]
        with contextlib.suppress(ContainerError):
            decompress(magic + data)

    @given(data=st.binary(max_size=5000))
    def test_gzip_round_trip(self, data: bytes) -> None:
        assert decompress(gzip.compress(data)) == data
        raw = zlib.compressobj(0, zlib.DEFLATED, 31)
        assert decompress(raw.compress(data) + raw.flush()) == data


@pytest.fixture(scope="session")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("key")
    openssl(
        "req -new -x509 -nodes -newkey rsa:2048 -days 1 -out cert.pem -keyout key.pem -subj",
        "/O=Board builders/CN=Livepatch signing key/emailAddress=key@example.com",
        directory=directory,
    )
    return directory


def openssl(arguments: str, *more: str, directory: Path) -> None:
    assert shutil.which("openssl"), "openssl is missing; apt install openssl"
    command = ["openssl", *arguments.split(), *more]
    subprocess.run(command, cwd=directory, capture_output=True, check=True)


def sign(module: bytes, key: Path, options: str) -> bytes:
    """As the kernel's scripts/sign-file does."""
    (key / "module").write_bytes(module)
    openssl(
        "cms -sign -binary -nocerts -noattr -outform DER -in module -out cms "
        "-signer cert.pem -inkey key.pem " + options,
        directory=key,
    )
    return append(module, (key / "cms").read_bytes())


def append(module: bytes, signature: bytes, id_type: int = 2, length: int | None = None) -> bytes:
    size = len(signature) if length is None else length
    return module + signature + struct.pack(">5B3xI", 0, 0, id_type, 0, 0, size) + MAGIC


class TestSignature:
    @pytest.mark.parametrize("hash", ["sha1", "sha256", "sha384", "sha512", "sha3-256"])
    def test_signer_and_hash(self, module: bytes, key: Path, hash: str) -> None:
        file = inspect(sign(module, key, "-md " + hash), "signed")
        assert file.signature == {"signer": "Livepatch signing key", "hash": hash}
        assert file.livepatch == inspect(module, "plain").livepatch

    def test_with_certificates_inside(self, module: bytes, key: Path) -> None:
        (key / "module").write_bytes(module)
        openssl(
            "cms -sign -binary -outform DER -in module -out cms -signer cert.pem "
            "-inkey key.pem -md sha256",
            directory=key,
        )
        signed = append(module, (key / "cms").read_bytes())
        assert split_signature(signed) == (
            len(module),
            Signature("Livepatch signing key", "sha256"),
        )

    def test_a_key_identifier_names_no_signer(self, module: bytes, key: Path) -> None:
        file = inspect(sign(module, key, "-md sha512 -keyid"), "signed")
        assert file.signature == {"signer": None, "hash": "sha512"}

    def test_it_is_inside_the_compression_and_goes_to_the_kernel(
        self, module: bytes, key: Path
    ) -> None:
        signed = sign(module, key, "-md sha256")
        stored = lzma.compress(signed)
        assert module_image(stored) == signed
        file = inspect(stored, "signed.ko.xz")
        assert file.compression == "xz"
        assert file.signature == {"signer": "Livepatch signing key", "hash": "sha256"}

    def test_unsigned(self, module: bytes) -> None:
        assert split_signature(module) == (len(module), None)
        assert inspect(module, "plain").signature is None

    @pytest.mark.parametrize("id_type", [0, 1])
    def test_a_format_of_before_linux_4_3_is_recognised_only(
        self, module: bytes, id_type: int
    ) -> None:
        signed = append(module, b"signature", id_type)
        assert split_signature(signed) == (len(module), Signature(None, None))

    @pytest.mark.parametrize("length", [2**32 - 1, 10**6])
    def test_a_length_beyond_the_file_is_damage(self, module: bytes, length: int) -> None:
        with pytest.raises(LivepatchFileError, match="is damaged: its signature is said"):
            inspect(append(module[:1000], b"", length=length), "signed")

    def test_a_trailer_alone_is_damage(self) -> None:
        with pytest.raises(ContainerError, match="is damaged: its signature is said"):
            split_signature(MAGIC)

    @given(signature=st.binary(max_size=300))
    def test_any_bytes_in_its_place_name_no_signer(self, signature: bytes) -> None:
        assert split_signature(append(b"module", signature)) == (6, Signature(None, None))

    @settings(deadline=None, max_examples=300)
    @given(data=st.data())
    def test_a_damaged_one_is_still_one_answer(self, data: st.DataObject) -> None:
        der = bytearray(SIGNED_DATA)
        for _round in range(data.draw(st.integers(1, 4))):
            der[data.draw(st.integers(0, len(der) - 1))] = data.draw(st.integers(0, 255))
        size, signature = split_signature(append(b"module", bytes(der)))
        assert size == 6
        assert signature is not None
        assert signature.signer is None or signature.signer.isprintable()


def tlv(tag: int, *content: bytes) -> bytes:
    body = b"".join(content)
    return bytes([tag, 0x82]) + struct.pack(">H", len(body)) + body


SIGNED_DATA = tlv(
    0x30,
    tlv(0x06, bytes.fromhex("2a864886f70d010702")),
    tlv(
        0xA0,
        tlv(
            0x30,
            tlv(0x02, b"\1"),
            tlv(0x31),
            tlv(0x30, tlv(0x06, bytes.fromhex("2a864886f70d010701"))),
            tlv(
                0x31,
                tlv(
                    0x30,
                    tlv(0x02, b"\1"),
                    tlv(
                        0x30,
                        tlv(
                            0x30,
                            tlv(0x31, tlv(0x30, tlv(0x06, b"\x55\4\3"), tlv(0x0C, b"A name"))),
                        ),
                        tlv(0x02, b"\1"),
                    ),
                    tlv(0x30, tlv(0x06, bytes.fromhex("608648016503040201"))),
                ),
            ),
        ),
    ),
)


def test_the_signed_data_to_damage_is_right_at_first() -> None:
    assert split_signature(append(b"", SIGNED_DATA)) == (0, Signature("A name", "sha256"))


def test_who_signed_is_not_looked_up_in_megabytes() -> None:
    signed = append(b"module", b"\x30\x00" * 2**20)
    assert split_signature(signed) == (6, Signature(None, None))
