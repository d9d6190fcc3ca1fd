"""OpenStack Swift on this machine: its proxy with the S3 interface, and its three servers, in a folder of their own on free ports.

It is installed by `make swift` into an environment of its own, since it needs other versions than ours.
"""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ENVIRONMENT = Path(__file__).parents[2] / ".venv-swift"
INSTALLED = (ENVIRONMENT / "bin" / "swift-proxy-server").is_file()
HOW = "Swift is not installed: `make swift` installs it"
KEY, SECRET = "test:tester", "testing-secret-of-swift"

_SERVER = """\
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
user = {user}
swift_dir = {folder}
devices = {folder}/devices
mount_check = false
workers = 0
log_level = ERROR
log_address = NOLOG
[pipeline:main]
pipeline = {kind}-server
[app:{kind}-server]
use = egg:swift#{kind}
"""
_PROXY = """\
[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
user = {user}
swift_dir = {folder}
workers = 0
log_level = ERROR
log_address = NOLOG
[pipeline:main]
pipeline = catch_errors cache s3api tempauth bulk copy slo dlo proxy-server
[app:proxy-server]
use = egg:swift#proxy
allow_account_management = true
account_autocreate = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:cache]
use = egg:swift#memcache
[filter:s3api]
use = egg:swift#s3api
s3_acl = true
location = us-east-1
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = {secret} .admin
user_test_reader = reading
[filter:bulk]
use = egg:swift#bulk
[filter:slo]
use = egg:swift#slo
[filter:dlo]
use = egg:swift#dlo
[filter:copy]
use = egg:swift#copy
"""
_SWIFT = """\
[swift-hash]
swift_hash_path_suffix = a
swift_hash_path_prefix = b
[storage-policy:0]
name = p0
default = yes
"""
_RINGS = """\
import sys
from swift.common.ring import RingBuilder
folder, *ports = sys.argv[1:]
for kind, port in zip(("account", "container", "object"), ports):
    builder = RingBuilder(2, 1, 0)
    place = {"region": 1, "zone": 1, "ip": "127.0.0.1", "port": int(port), "device": "d1", "weight": 1, "meta": ""}
    builder.add_dev({**place, "replication_ip": "127.0.0.1", "replication_port": int(port)})
    builder.rebalance()
    builder.get_ring().save(f"{folder}/{kind}.ring.gz")
"""


def free_port() -> int:
    """A port of the loopback that nobody listens on."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return int(listener.getsockname()[1])


def answers(port: int) -> bool:
    """Whether somebody listens on a port of the loopback."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == 0


@contextmanager
def swift(folder: Path) -> Iterator[int]:
    """Swift's port, while it runs; everything that it keeps is below the folder."""
    ports = {kind: free_port() for kind in ("account", "container", "object", "proxy")}
    (folder / "devices" / "d1").mkdir(parents=True)
    (folder / "swift.conf").write_text(_SWIFT)
    user = subprocess.run(["id", "-un"], capture_output=True, text=True, check=True).stdout.strip()
    for kind, port in ports.items():
        text = _PROXY if kind == "proxy" else _SERVER
        (folder / f"{kind}.conf").write_text(text.format(port=port, user=user, folder=folder, kind=kind, secret=SECRET))
    python = str(ENVIRONMENT / "bin" / "python")
    environment = {**os.environ, "SWIFT_TEST_CONFIG_FILE": "", "PYTHONPATH": ""}
    builders = [str(ports[kind]) for kind in ("account", "container", "object")]
    subprocess.run([python, "-c", _RINGS, str(folder), *builders], check=True, env=environment, capture_output=True)
    running = []
    end_with_us = ["setpriv", "--pdeathsig", "KILL"] if shutil.which("setpriv") else []  # however these tests end
    try:
        for kind in ports:
            command = [*end_with_us, python, str(ENVIRONMENT / "bin" / f"swift-{kind}-server"), str(folder / f"{kind}.conf")]
            with open(folder / f"{kind}.log", "wb") as log:
                running.append(subprocess.Popen(command, stdout=log, stderr=log, env=environment, start_new_session=True))
        for process, (kind, port) in zip(running, ports.items(), strict=True):
            while not answers(port):
                assert process.poll() is None, (folder / f"{kind}.log").read_text()
                time.sleep(0.1)
        yield ports["proxy"]
    finally:
        for process in running:
            process.kill()
            process.wait()
