"""Real boards on one machine: QEMU guests that run a distribution's kernel and answer Ansible."""
