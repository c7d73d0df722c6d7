"""KVM, but only where a guest has proved to boot under it; else emulation."""

from __future__ import annotations

import subprocess
from pathlib import Path

from . import cache
from .system import System
from .tools import say, tool

# Long for a KVM that works. Nested virtualisation can offer a /dev/kvm under which guests hang for
# ever, or that refuses them at once.
PROOF_SECONDS = 6


def accelerator(system: System) -> tuple[str, ...]:
    machine = system.kernel.machine
    if not machine.kvm:
        return machine.emulation
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    verdict = cache.home() / f"kvm-{boot_id}"
    try:
        open("/dev/kvm", "r+b", buffering=0).close()
    except OSError:
        return machine.emulation
    if not verdict.exists():
        proved = _boots_under_kvm(system)
        say(
            "a guest boots under KVM"
            if proved
            else "no guest boots under this machine's KVM: emulating"
        )
        verdict.write_text("yes" if proved else "no")
    return machine.kvm if verdict.read_text() == "yes" else machine.emulation


def _boots_under_kvm(system: System) -> bool:
    machine = system.kernel.machine
    with subprocess.Popen(
        [
            tool(machine.qemu),
            *machine.kvm,
            "-nodefaults",
            "-no-user-config",
            "-display",
            "none",
            "-m",
            "256",
            "-no-reboot",
            "-serial",
            "stdio",
            "-kernel",
            system.image,
            "-initrd",
            system.initramfs,
            "-append",
            f"console={machine.console} quiet lab_only_kernel=1",
        ],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    ) as guest:
        try:
            output, _errors = guest.communicate(timeout=PROOF_SECONDS)
        except subprocess.TimeoutExpired:
            return False
        finally:
            guest.kill()
    return b"lab: kernel is up" in output
