"""The kernels that boards of the lab can run, and the machines that run them."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Machine:
    """An architecture, as Linux, the compiler and QEMU each call it."""

    linux: str
    cross_compile: str
    qemu: str
    emulation: tuple[str, ...]
    kvm: tuple[str, ...]
    console: str
    disk: str
    network: str


PC = Machine(
    linux="x86",
    cross_compile="",
    qemu="qemu-system-x86_64",
    emulation=("-accel", "tcg,thread=multi", "-cpu", "max"),
    kvm=("-accel", "kvm", "-cpu", "host"),
    console="ttyS0",
    disk="virtio-blk-pci",
    network="virtio-net-pci,romfile=",
)


@dataclass(frozen=True)
class Kernel:
    machine: Machine
    suite: str
    arch: str
    package: str
    livepatch: bool
    # What stands between the initramfs and the disk and the network. modules.dep says what these
    # need in turn.
    drivers: tuple[str, ...]

    @property
    def name(self) -> str:
        return f"{self.suite}-{self.package.removeprefix('linux-image-')}"

    @property
    def headers_package(self) -> str:
        return self.package.replace("linux-image-", "linux-headers-")


@dataclass(frozen=True)
class Kernels:
    """What an architecture's boards run: most of them, and MODEL-stock."""

    livepatch: Kernel
    stock: Kernel


DRIVERS = ("virtio_blk", "virtio_net", "crc32c_generic", "ext4")

KERNELS = {
    "amd64": Kernels(
        livepatch=Kernel(
            machine=PC,
            suite="bookworm",
            arch="amd64",
            package="linux-image-amd64",
            livepatch=True,
            drivers=("virtio_pci", *DRIVERS),
        ),
        # The stock kernel of an Orange Pi 5 has no livepatching. On a PC, Debian sets LIVEPATCH in
        # every 64-bit flavour, and a 32-bit kernel can't have it.
        stock=Kernel(
            machine=PC,
            suite="bookworm",
            arch="i386",
            package="linux-image-686",
            livepatch=False,
            drivers=("virtio_pci", *DRIVERS),
        ),
    ),
}
