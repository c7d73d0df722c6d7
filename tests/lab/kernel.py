"""The kernels that boards of the lab can run, as their distribution built them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Kernel:
    suite: str
    arch: str
    package: str
    livepatch: bool
    qemu: str

    @property
    def name(self) -> str:
        return f"{self.suite}-{self.package.removeprefix('linux-image-')}"

    @property
    def headers_package(self) -> str:
        return self.package.replace("linux-image-", "linux-headers-")


LIVEPATCH = Kernel(
    suite="bookworm",
    arch="amd64",
    package="linux-image-amd64",
    livepatch=True,
    qemu="qemu-system-x86_64",
)

# The stock kernel of an Orange Pi 5 has no livepatching. On a PC, Debian sets LIVEPATCH in every
# 64-bit flavour, and a 32-bit kernel can't have it.
STOCK = Kernel(
    suite="bookworm",
    arch="i386",
    package="linux-image-686",
    livepatch=False,
    qemu="qemu-system-x86_64",
)
