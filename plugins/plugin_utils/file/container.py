# Copyright (c) 2026, The orangepi.livepatch authors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
# SPDX-License-Identifier: GPL-3.0-or-later

"""What is wrapped around a module: the compression and the appended signature.

Runs on the controller, standard library only, but for .ko.zst: Python reads that
from 3.14 on, and before that the package zstandard does.  Everything is bounded: a
file of a few bytes can claim to be gigabytes.
"""

from __future__ import annotations

import io
import lzma
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

# Both as stored and uncompressed, in bytes.  Livepatches are rarely above 1 MiB.
MAX_MODULE = 64 * 2**20

# Of PKCS#7, in bytes: what is longer is one, but who made it is not looked up.
MAX_SIGNATURE = 2**16

# For the decoder itself: xz -9 and zstd --ultra want a window of 64 MiB.
_WINDOW_LOG = 26
_MAX_DECODER = 2**_WINDOW_LOG + 16 * 2**20
_CHUNK = 2**20

_MAGICS = ((b"\xfd7zXZ\0", "xz"), (b"\x28\xb5\x2f\xfd", "zst"), (b"\x1f\x8b", "gz"))

# MODULE_SIG_STRING and struct module_signature, include/linux/module_signature.h:
# algo, hash, id_type, signer_len, key_id_len, three bytes of padding, and sig_len,
# which is big-endian on every machine.
_SIGNATURE_MAGIC = b"~Module signature appended~\n"
_MODULE_SIGNATURE = struct.Struct(">5B3xI")
_PKEY_ID_PKCS7 = 2

_HASHES = {
    "1.3.14.3.2.26": "sha1",
    "2.16.840.1.101.3.4.2.1": "sha256",
    "2.16.840.1.101.3.4.2.2": "sha384",
    "2.16.840.1.101.3.4.2.3": "sha512",
    "2.16.840.1.101.3.4.2.4": "sha224",
    "2.16.840.1.101.3.4.2.8": "sha3-256",
    "2.16.840.1.101.3.4.2.9": "sha3-384",
    "2.16.840.1.101.3.4.2.10": "sha3-512",
    "1.2.156.10197.1.401": "sm3",
}
_COMMON_NAME = "2.5.4.3"

# X.690: universal tags, and the context-specific [0] (constructed).
_INTEGER, _OID, _SEQUENCE, _SET, _CONTEXT_0 = 0x02, 0x06, 0x30, 0x31, 0xA0
_BMP_STRING = 0x1E


class ContainerError(ValueError):
    """A wrapping that can't be undone; a sentence that lacks its subject, and says what to do."""


@dataclass(frozen=True)
class Signature:
    """An appended signature.

    signer: the common name of the issuer in the first SignerInfo, as modinfo
    prints it; hash: the digest's name as the kernel spells it.  None where it
    can't be told (a key identifier instead of an issuer, an unknown digest,
    a signature in the format of before Linux 4.3, one that is too long).
    """

    signer: str | None
    hash: str | None


def compression(data: bytes) -> str | None:
    """xz, zst or gz by the first bytes, never by a file's name; None where it is none of them."""
    return next((name for magic, name in _MAGICS if data.startswith(magic)), None)


def decompress(data: bytes) -> bytes:
    """The module inside a stored file, its signature trailer included.

    That is what the kernel is given.  Raises ContainerError where the data is
    damaged, more than MAX_MODULE bytes, or zstd is needed and missing.
    """
    name = compression(data)
    if name is None:
        image = data
    elif name == "zst":
        image = _decompress_zst(data)
    else:
        image = _decompress_stream(data, name)
    if len(image) > MAX_MODULE:
        raise ContainerError(
            "is more than %d MiB%s; no livepatch is that big."
            % (MAX_MODULE // 2**20, " uncompressed" if name else "")
        )
    return image


def _decompress_stream(data: bytes, name: str) -> bytes:
    try:
        if name == "gz":
            return _bounded_gzip(data)
        decoder = lzma.LZMADecompressor(format=lzma.FORMAT_XZ, memlimit=_MAX_DECODER)
        return _bounded(decoder, data, name)
    except (lzma.LZMAError, zlib.error, EOFError) as error:
        raise _damaged(name, str(error)) from error


def _bounded_gzip(data: bytes) -> bytes:
    decoder = zlib.decompressobj(wbits=zlib.MAX_WBITS | 16)
    out = io.BytesIO()
    rest = memoryview(data)
    while not decoder.eof and out.tell() <= MAX_MODULE:
        given = rest[:_CHUNK]
        chunk = decoder.decompress(given, _CHUNK)
        consumed = len(given) - len(decoder.unconsumed_tail) - len(decoder.unused_data)
        if not chunk and not consumed:
            raise _damaged("gz", "it ends early")
        out.write(chunk)
        rest = rest[consumed:]
    if decoder.eof:
        _check_rest(bytes(rest), "gz")
    return out.getvalue()


def _bounded(decoder: Any, data: bytes, name: str) -> bytes:
    """Decode with lzma.LZMADecompressor or its like in compression.zstd."""
    out = io.BytesIO()
    chunk = decoder.decompress(data, _CHUNK)
    while True:
        out.write(chunk)
        if decoder.eof or out.tell() > MAX_MODULE:
            break
        if decoder.needs_input and not chunk:
            raise _damaged(name, "it ends early")
        chunk = decoder.decompress(b"", _CHUNK)
    if decoder.eof:
        _check_rest(decoder.unused_data, name)
    return out.getvalue()


def _check_rest(rest: bytes, name: str) -> None:
    # xz pads its streams with zeros, tar and dd do so with everything.
    if rest.count(0) < len(rest):
        raise _damaged(name, "%d bytes follow its end" % len(rest))


def _decompress_zst(data: bytes) -> bytes:
    try:
        from compression import zstd  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        pass
    else:
        try:
            options = {zstd.DecompressionParameter.window_log_max: _WINDOW_LOG}
            return _bounded(zstd.ZstdDecompressor(options=options), data, "zst")
        except zstd.ZstdError as error:
            raise _damaged("zst", str(error)) from error
    try:
        import zstandard  # type: ignore[import-not-found,unused-ignore]
    except ImportError:
        raise ContainerError(
            "is compressed with zstd, which the controller's Python can't read; "
            "pip install zstandard there."
        ) from None
    out = io.BytesIO()
    decoder = zstandard.ZstdDecompressor(max_window_size=2**_WINDOW_LOG).decompressobj()
    at = 0
    try:
        while at < len(data) and not decoder.eof and out.tell() <= MAX_MODULE:
            # zstandard can't bound what it gives, so bound what it gets: a block of 4 bytes can be
            # 2**17 uncompressed.
            out.write(decoder.decompress(data[at : at + 1024]))
            at += 1024
    except zstandard.ZstdError as error:
        raise _damaged("zst", str(error)) from error
    if decoder.eof:
        _check_rest(decoder.unused_data + data[at:], "zst")
    elif out.tell() <= MAX_MODULE:
        raise _damaged("zst", "it ends early")
    return out.getvalue()


def _damaged(name: str, reason: str) -> ContainerError:
    return ContainerError(
        "is damaged: its %s compression can't be undone (%s); copy or build it again."
        % (name, reason.rstrip("."))
    )


def split_signature(image: bytes) -> tuple[int, Signature | None]:
    """Where the module proper ends, in bytes, and the signature appended to it.

    As mod_verify_sig() in kernel/module/signing.c does it.  Raises
    ContainerError where the trailer says more than the file has.
    """
    if not image.endswith(_SIGNATURE_MAGIC):
        return len(image), None
    end = len(image) - len(_SIGNATURE_MAGIC) - _MODULE_SIGNATURE.size
    if end < 0:
        raise _damaged_signature()
    trailer = _MODULE_SIGNATURE.unpack_from(image, end)
    _algo, _hash, id_type, signer_len, key_id_len, sig_len = trailer
    module = end - sig_len
    if id_type != _PKEY_ID_PKCS7:
        module -= signer_len + key_id_len
    if module < 0:
        raise _damaged_signature()
    if id_type != _PKEY_ID_PKCS7 or sig_len > MAX_SIGNATURE:
        return module, Signature(None, None)
    return module, _pkcs7_signature(image[module:end])


def _damaged_signature() -> ContainerError:
    return ContainerError(
        "is damaged: its signature is said to be longer than the file; copy or sign it again."
    )


def _pkcs7_signature(der: bytes) -> Signature:
    """Signer and digest of a DER-encoded PKCS#7 SignedData (RFC 5652, section 5)."""
    try:
        content_info = _only(der, _SEQUENCE)
        signed_data = _only(_only(content_info, _CONTEXT_0), _SEQUENCE)
        # signerInfos is the last field; certificates and crls are optional.
        tag, signer_infos = list(_der(signed_data))[-1]
        if tag != _SET:
            return Signature(None, None)
        fields = list(_der(_only(signer_infos, _SEQUENCE)))
        (_version_tag, version), (sid_tag, sid), (digest_tag, digest) = fields[:3]
        oid = _oid(_only(digest, _OID)) if digest_tag == _SEQUENCE else ""
        # Version 3 names the key by its identifier, version 1 by issuer and serial number.
        signer = _common_name(_only(sid, _SEQUENCE)) if sid_tag == _SEQUENCE else None
        return Signature(signer, _HASHES.get(oid))
    except (ValueError, IndexError):
        return Signature(None, None)


def _der(data: bytes) -> Iterator[tuple[int, bytes]]:
    """The tag and content of each element.  Raises ValueError or IndexError."""
    offset = 0
    while offset < len(data):
        tag, length = data[offset], data[offset + 1]
        offset += 2
        if length & 0x80:
            count = length & 0x7F
            if not 0 < count <= 4:
                raise ValueError("a length of %d bytes" % count)
            length = int.from_bytes(data[offset : offset + count], "big")
            offset += count
        if offset + length > len(data):
            raise ValueError("an element beyond the end")
        yield tag, data[offset : offset + length]
        offset += length


def _only(data: bytes, tag: int) -> bytes:
    """The content of the first element with that tag."""
    for found, content in _der(data):
        if found == tag:
            return content
    raise ValueError("no element with tag %#x" % tag)


def _common_name(name: bytes) -> str | None:
    """The CN of an X.501 Name: SEQUENCE OF SET OF SEQUENCE {type, value}."""
    for _set_tag, rdn in _der(name):
        for _sequence_tag, attribute in _der(rdn):
            (_oid_tag, oid), (tag, value) = list(_der(attribute))[:2]
            if _oid(oid) == _COMMON_NAME:
                text = value.decode("utf-16-be" if tag == _BMP_STRING else "utf-8", "replace")
                return "".join(c if c.isprintable() else "?" for c in text)[:256]
    return None


def _oid(content: bytes) -> str:
    arcs = [min(content[0] // 40, 2)]
    arcs.append(content[0] - 40 * arcs[0])
    arc = 0
    for byte in content[1:32]:
        arc = arc << 7 | byte & 0x7F
        if not byte & 0x80:
            arcs.append(arc)
            arc = 0
    return ".".join(map(str, arcs))
