"""Which Orange Pi a guest is, told as on the real one: by its device tree."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from .tools import run

# As Linux spells them in arch/arm64/boot/dts/rockchip.
NAMES = {
    "orangepi5": ("Xunlong Orange Pi 5", "xunlong,orangepi-5", "rockchip,rk3588s"),
    "orangepi5b": ("Xunlong Orange Pi 5B", "xunlong,orangepi-5b", "rockchip,rk3588s"),
    "orangepi5plus": ("Xunlong Orange Pi 5 Plus", "xunlong,orangepi-5-plus", "rockchip,rk3588"),
}


def device_tree(hardware: Sequence[str], model: str, file: Path) -> Path:
    """QEMU's own for this hardware, with the board's names."""
    run(*hardware, "-machine", f"dumpdtb={file}".replace(",", ",,"))
    name, *compatible = NAMES[model]
    run("fdtput", "-t", "s", file, "/", "model", name)
    run("fdtput", "-t", "s", file, "/", "compatible", *compatible)
    return file
