"""Hosts of a network of their own on this machine: Linux namespaces with a name, a network, processes and an sshd each, behind a bridge.

A host is one process, the first of its namespaces: whoever kills it takes the host's power, and `unplug` takes its cable.
"""

from __future__ import annotations

import functools
import itertools
import os
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

SSHD = shutil.which("sshd") or "/usr/sbin/sshd"
_COUNT = itertools.count()
UNSHARE = ("unshare", "--net", "--uts", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc")
DAEMON = """\
ListenAddress 0.0.0.0
HostKey {folder}/{name}.key
AuthorizedKeysFile {folder}/user.key.pub
PidFile none
UsePAM no
StrictModes no
PermitRootLogin prohibit-password
{more}
"""
CLIENT = """\
Host *
  User root
  IdentityFile {folder}/user.key
  IdentitiesOnly yes
  UserKnownHostsFile {folder}/known
  StrictHostKeyChecking yes
"""


@functools.cache
def missing() -> str | None:
    """Why no such hosts can be made here, or None where they can."""
    for tool in ("ip", "unshare", "nsenter", "ssh", "ssh-keygen"):
        if shutil.which(tool) is None:
            return f"{tool} is not installed"
    if not Path(SSHD).is_file():
        return "sshd (Debian: openssh-server) is not installed"
    if os.geteuid() != 0:
        return "network namespaces want root"
    made = subprocess.run([*UNSHARE, "ip", "link", "add", "try", "type", "bridge"], capture_output=True, text=True, check=False)
    return f"namespaces or bridges cannot be made here ({made.stderr.strip()})" if made.returncode else None


def do(*command: str) -> str:
    """The output of a command that must go well."""
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, (command, done.stderr)
    return done.stdout


class Network:
    """Hosts by name, behind one bridge; `address` of each is 10.213.0.N, on `eth0`.

    As hosts often are, each has a `docker0` with the same address as all others', and its own name stands for 127.0.1.1 in its own
    /etc/hosts. `hidden` are folders of which a host has one of its own, empty at its start.
    """

    def __init__(self, folder: Path, names: Sequence[str], *, hidden: Mapping[str, Sequence[Path]] | None = None, daemon: str = "") -> None:
        self.folder, self.names, self.hidden, self.daemon = folder, list(names), hidden or {}, daemon
        folder.mkdir(exist_ok=True)
        self.mark = f"f{os.getpid()}{chr(97 + next(_COUNT))}"  # names of interfaces are short, and this machine's alone
        self.bridge = f"{self.mark}br"
        do("ip", "link", "add", self.bridge, "type", "bridge")
        do("ip", "link", "set", self.bridge, "up")
        for key in ("user", *names):
            do("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(folder / f"{key}.key"))
        known = [f"{name} {(folder / f'{name}.key.pub').read_text()}" for name in names]
        (folder / "known").write_text("".join(known))
        (folder / "config").write_text(CLIENT.format(folder=folder))
        programs = folder / "bin"
        programs.mkdir()
        (programs / "ssh").write_text(f'#!/bin/sh\nexec {shutil.which("ssh")} -F {folder}/config "$@"\n')
        (programs / "ssh").chmod(0o755)
        self.hosts: dict[str, subprocess.Popen[bytes]] = {}
        for name in names:
            self.boot(name)

    def address(self, name: str) -> str:
        return f"10.213.0.{self.names.index(name) + 1}"

    def boot(self, name: str) -> None:
        """Start a host, from nothing."""
        number = self.names.index(name)
        outer = f"{self.mark}{number}"
        hosts = self.folder / f"{name}.hosts"
        others = [f"{self.address(other)} {other}\n" for other in self.names if other != name]
        hosts.write_text("".join(["127.0.0.1 localhost\n", f"127.0.1.1 {name}\n", *others]))
        (self.folder / f"{name}.sshd").write_text(DAEMON.format(folder=self.folder, name=name, more=self.daemon))
        quiet = subprocess.DEVNULL
        ready = self.folder / f"{name}.ready"
        ready.unlink(missing_ok=True)
        script = [
            f"hostname {name}",
            "ip link set lo up",
            "ip link add docker0 type veth peer name docker1",
            "ip addr add 172.17.0.1/16 dev docker0 && ip link set docker0 up && ip link set docker1 up",
            f"mount --bind {hosts} /etc/hosts",
            "mount -t tmpfs tmpfs /run && mkdir -p /run/sshd",
            *(f"mount -t tmpfs tmpfs '{path}'" for path in self.hidden.get(name, ())),
            f"touch {ready}",
            f"until ip link show eth0 2>/dev/null; do sleep 0.02; done; exec {SSHD} -D -f {self.folder}/{name}.sshd",
        ]
        command = [*UNSHARE, "sh", "-e", "-c", "\n".join(script)]
        host = self.hosts[name] = subprocess.Popen(command, stdin=quiet, stdout=quiet, start_new_session=True)
        while not ready.exists():
            assert host.poll() is None, name
            time.sleep(0.01)
        do("ip", "link", "add", outer, "type", "veth", "peer", "name", f"{outer}p")
        do("ip", "link", "set", outer, "master", self.bridge, "up")
        do("ip", "link", "set", f"{outer}p", "netns", str(self.first(name)))
        within = ["nsenter", "-t", str(self.first(name)), "-n", "ip"]
        do(*within, "addr", "add", f"{self.address(name)}/24", "dev", f"{outer}p")
        do(*within, "link", "set", f"{outer}p", "name", "eth0", "up")
        while subprocess.run(self.inside(name, "bash", "-c", "exec 3<>/dev/tcp/127.0.0.1/22"), stderr=quiet, check=False).returncode:
            assert host.poll() is None, name
            time.sleep(0.02)

    def first(self, name: str) -> int:
        """The process by which a host lives: the first of its namespaces."""
        pid = self.hosts[name].pid
        return int(Path(f"/proc/{pid}/task/{pid}/children").read_text().split()[0])

    def inside(self, name: str, *command: str) -> list[str]:
        """A command as it is run on a host, by the `ssh` that knows all hosts' keys."""
        path = f"PATH={self.folder}/bin:{os.environ['PATH']}"
        return ["nsenter", "-t", str(self.first(name)), "-n", "-u", "-m", "-p", "--", "env", path, *command]

    def start(self, name: str, *command: str, **options: Any) -> subprocess.Popen[str]:
        """Start a command on a host."""
        return subprocess.Popen(self.inside(name, *command), text=True, start_new_session=True, **options)

    def pids(self, name: str, words: str) -> list[int]:
        """Processes of a host whose command has these words, as this machine counts them."""
        space = os.readlink(f"/proc/{self.first(name)}/ns/pid")
        found = []
        for path in Path("/proc").glob("[0-9]*"):
            try:
                if os.readlink(path / "ns" / "pid") == space and words in (path / "cmdline").read_bytes().decode().replace("\0", " "):
                    found.append(int(path.name))
            except OSError:
                continue
        return found

    def kill_all(self, name: str) -> None:
        """Kill every process of a host but the one by which it lives, as when memory runs out again and again."""
        for pid in self.pids(name, ""):
            if pid != self.first(name):
                with suppress(ProcessLookupError):  # one that ended by itself, or with the one before
                    os.kill(pid, signal.SIGKILL)

    def unplug(self, name: str) -> None:
        """Take a host's cable out: packets are lost, and nobody is told."""
        do("ip", "link", "set", f"{self.mark}{self.names.index(name)}", "down")

    def plug(self, name: str) -> None:
        """Put it back."""
        do("ip", "link", "set", f"{self.mark}{self.names.index(name)}", "up")

    def power_off(self, name: str) -> None:
        """A host goes without a word to anybody."""
        self.unplug(name)
        os.kill(self.first(name), signal.SIGKILL)
        self.hosts.pop(name).wait()
        number = self.names.index(name)
        subprocess.run(["ip", "link", "del", f"{self.mark}{number}"], capture_output=True, check=False)

    def close(self) -> None:
        for name in list(self.hosts):
            self.power_off(name)
        do("ip", "link", "del", self.bridge)
