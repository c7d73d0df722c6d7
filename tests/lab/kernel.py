"""The kernels that boards of the lab can run, and the machines that run them."""

from __future__ import annotations

from dataclasses import dataclass, field, replace
from typing import Any


@dataclass(frozen=True)
class Machine:
    """An architecture, as Debian, Linux, the compiler and QEMU each call it."""

    debian: str
    linux: str
    cross_compile: str
    qemu: str
    emulation: tuple[str, ...]
    kvm: tuple[str, ...]
    console: str
    disk: str
    network: str
    device_tree: bool


PC = Machine(
    debian="amd64",
    linux="x86",
    cross_compile="",
    qemu="qemu-system-x86_64",
    # With a thread for each processor, one can run into a breakpoint that the other has already
    # patched away (QEMU 7.2): "Oops: int3" in __schedule() of Linux 7.3, on a board with two.
    emulation=("-accel", "tcg,thread=single", "-cpu", "max"),
    kvm=("-accel", "kvm", "-cpu", "host"),
    console="ttyS0",
    disk="virtio-blk-pci",
    network="virtio-net-pci,romfile=",
    device_tree=False,
)

# The Cortex-A76 is the big core of an Orange Pi 5. KVM can't offer it, so it is always emulated.
VIRT = Machine(
    debian="arm64",
    linux="arm64",
    cross_compile="aarch64-linux-gnu-",
    qemu="qemu-system-aarch64",
    emulation=("-accel", "tcg,thread=multi", "-machine", "virt", "-cpu", "cortex-a76"),
    kvm=(),
    console="ttyAMA0",
    disk="virtio-blk-device",
    network="virtio-net-device",
    device_tree=True,
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
    # Where the package is not from the suite that the rest of the system is from.
    package_suite: str = ""
    # Modules are built by the suite's own compiler, in a container: the programs that come with the
    # headers don't run on an older release than theirs.
    compiler_of_suite: bool = False
    # What was changed in a kernel built from source: the directory of `layouts` whose struct klp_*
    # it has, and whether it describes its structures. Not in what names the cached systems: the
    # built kernel's own name has it.
    layout: str = field(default="", repr=False)
    btf: bool = field(default=False, repr=False)

    @property
    def from_source(self) -> bool:
        return self.package == "linux-source"

    @property
    def name(self) -> str:
        if self.from_source:
            return f"{self.suite}-{self.arch}-livepatch{self.changes}"
        return f"{self.package_suite or self.suite}-{self.package.removeprefix('linux-image-')}"

    @property
    def changes(self) -> str:
        return (f"-{self.layout}" if self.layout else "") + ("-btf" if self.btf else "")

    @property
    def headers_are_unpacked(self) -> bool:
        """Not installed with their compiler, nor made with the kernel."""
        return self.livepatch and not self.from_source and not self.compiler_of_suite

    @property
    def headers_package(self) -> str:
        return self.package.replace("linux-image-", "linux-headers-")


@dataclass(frozen=True)
class Kernels:
    """What boards run: most of them, MODEL-stock, and MODEL-debian."""

    livepatch: Kernel
    stock: Kernel
    debian: Kernel


DRIVERS = ("virtio_blk", "virtio_net", "ext4")
# Not in modules.dep: ext4 asks for it by its algorithm. Part of the kernel itself since 6.15.
CRC = "crc32c_generic"

PC_DEBIAN = Kernel(
    machine=PC,
    suite="bookworm",
    arch="amd64",
    package="linux-image-amd64",
    livepatch=True,
    drivers=("virtio_pci", CRC, *DRIVERS),
)
# The stock kernel of an Orange Pi 5 has no livepatching. On a PC, Debian sets LIVEPATCH in
# every 64-bit flavour, and a 32-bit kernel can't have it.
PC_STOCK = replace(PC_DEBIAN, arch="i386", package="linux-image-686", livepatch=False)

# Debian's own leave LIVEPATCH unset, also those that could have it.
VIRT_STOCK = Kernel(
    machine=VIRT,
    suite="bookworm",
    arch="arm64",
    package="linux-image-arm64",
    livepatch=False,
    drivers=("virtio_mmio", CRC, *DRIVERS),
)
VIRT_NEWEST = replace(VIRT_STOCK, package_suite="trixie-backports")


def _pc(**different: Any) -> Kernels:
    debian = replace(PC_DEBIAN, **different)
    return Kernels(livepatch=debian, stock=PC_STOCK, debian=debian)


VIRT_LIVEPATCH = replace(VIRT_NEWEST, package="linux-source", livepatch=True, drivers=())


def _virt(**different: Any) -> Kernels:
    return Kernels(
        livepatch=replace(VIRT_LIVEPATCH, **different),
        stock=VIRT_STOCK,
        debian=replace(VIRT_NEWEST, drivers=("virtio_mmio", *DRIVERS)),
    )


# By architecture and by the suite that the kernel is from; an architecture's first is its default.
KERNELS = {
    "amd64": {
        "bookworm": _pc(),
        "trixie": _pc(suite="trixie", compiler_of_suite=True),
        "trixie-backports": _pc(
            suite="trixie",
            package_suite="trixie-backports",
            compiler_of_suite=True,
            drivers=("virtio_pci", *DRIVERS),
        ),
    },
    "arm64": {
        "trixie-backports": _virt(),
        # With the struct klp_* that are proposed for Linux, each with BTF and without.
        "replace-set": _virt(layout="replace_set", btf=True),
        "replace-set-no-btf": _virt(layout="replace_set"),
        "state-callbacks": _virt(layout="state_callbacks", btf=True),
        "state-callbacks-no-btf": _virt(layout="state_callbacks"),
    },
}
