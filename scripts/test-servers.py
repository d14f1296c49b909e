#!/usr/bin/env python3
"""Runs a command beside a PostgreSQL and an S3 server that are there for it alone.

Usage: scripts/test-servers.py COMMAND [ARGUMENT...]     (or: cargo xtask servers COMMAND...)

The command finds them in its environment:

    GARIM_TEST_POSTGRES   postgres://USER:PASSWORD@127.0.0.1:PORT/postgres; the user may make databases
    GARIM_TEST_S3         http://ACCESS_KEY:SECRET_KEY@127.0.0.1:PORT/BUCKET

Both servers, and everything in them, are gone when the command ends, however it ends, and when this program
is terminated. Where it is killed, the servers die with it and only its folder in /tmp is left.
"""

import json
import os
import pathlib
import pwd
import random
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request

WEED = pathlib.Path(__file__).resolve().parent.parent / ".garim/servers/weed"
BUCKET = "garim-test"
# Seconds that a server may take to answer; a machine that is busy takes some.
START = 60
# Below the ports that the kernel gives to those who ask for any (32768 and up), so that none of these, which
# are free now, is given away before its server has it.
PORTS = range(20000, 32768)


class Failed(Exception):
    """A server did not start; says which and why."""


class Terminated(Exception):
    """This program was asked to stop."""


def free_ports(count):
    held = []
    for port in random.sample(PORTS, len(PORTS)):
        candidate = socket.socket()
        candidate.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            candidate.bind(("127.0.0.1", port))
        except OSError:
            candidate.close()
            continue
        held.append(candidate)
        if len(held) == count:
            ports = [one.getsockname()[1] for one in held]
            for one in held:
                one.close()
            return ports
    raise Failed("no free ports")


def start(command, log, die_by, user=None):
    """A process that gets signal `die_by` when this one dies, and no Ctrl-C from the terminal."""
    become = [f"--reuid={user.pw_uid}", f"--regid={user.pw_gid}", "--clear-groups"] if user else []
    with open(log, "wb") as output:
        return subprocess.Popen(
            ["setpriv", *become, f"--pdeathsig={die_by}", "--", *map(str, command)],
            stdin=subprocess.DEVNULL, stdout=output, stderr=output, cwd="/", start_new_session=True,
        )


def await_answer(name, process, log, answers):
    deadline = time.monotonic() + START
    while not answers():
        if process.poll() is not None or time.monotonic() > deadline:
            tail = "".join(log.read_text(errors="replace").splitlines(keepends=True)[-15:])
            raise Failed(f"{name} does not answer (process ended with {process.poll()}):\n{tail}")
        time.sleep(0.05)


def postgres_programs():
    found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda p: float(p.parts[-3]))
    if not found:
        raise Failed("no /usr/lib/postgresql/*/bin/postgres: run `scripts/setup.sh`")
    return found[-1].parent


def unprivileged():
    """Somebody else than root, because PostgreSQL refuses to run as root."""
    if os.geteuid() != 0:
        return None
    for name in ("postgres", "nobody"):
        try:
            return pwd.getpwnam(name)
        except KeyError:
            continue
    raise Failed("neither a user postgres nor a user nobody")


def start_postgres(folder, password):
    programs, user, (port,) = postgres_programs(), unprivileged(), free_ports(1)
    home = folder / "postgres"
    home.mkdir(mode=0o700)
    (home / "password").write_text(password)
    if user:
        os.chown(home, user.pw_uid, user.pw_gid)
        os.chown(home / "password", user.pw_uid, user.pw_gid)
    log = folder / "initdb.log"
    made = start(
        [programs / "initdb", "-D", home / "data", "-U", "garim", f"--pwfile={home}/password",
         "--auth=scram-sha-256", "--no-sync", "--no-instructions", "-E", "UTF8", "--locale=C"],
        log, "KILL", user,
    )
    if made.wait() != 0:
        raise Failed(f"initdb failed:\n{log.read_text(errors='replace')}")
    # Nothing in it has to survive a power cut.
    settings = {
        "listen_addresses": "127.0.0.1", "port": port, "unix_socket_directories": "", "max_connections": 200,
        "fsync": "off", "synchronous_commit": "off", "full_page_writes": "off",
    }
    log = folder / "postgres.log"
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    server = start([programs / "postgres", "-D", home / "data", *options], log, "QUIT", user)
    check = [programs / "pg_isready", "-q", "-h", "127.0.0.1", "-p", str(port)]
    address = f"postgres://garim:{password}@127.0.0.1:{port}/postgres"
    return server, address, lambda: await_answer(
        "PostgreSQL", server, log, lambda: subprocess.run(check, check=False).returncode == 0)


def start_s3(folder, secret):
    if not WEED.is_file():
        raise Failed(f"no {WEED}: run `cargo xtask servers true`, which fetches it")
    ports = free_ports(8)
    master, volume, filer, s3 = ports[0::2]
    home = folder / "s3"
    home.mkdir(mode=0o700)
    keys = {"accessKey": "garim", "secretKey": secret}
    may = ["Admin", "Read", "Write", "List", "Tagging"]
    identity = {"name": "tests", "credentials": [keys], "actions": may}
    (home / "keys.json").write_text(json.dumps({"identities": [identity]}))
    log = folder / "s3.log"
    server = start(
        [WEED, "server", f"-dir={home}", "-ip=127.0.0.1", "-ip.bind=127.0.0.1", "-filer", "-s3",
         "-master.telemetry=false", "-master.volumeSizeLimitMB=256", "-volume.max=50",
         f"-master.port={master}", f"-master.port.grpc={ports[1]}",
         f"-volume.port={volume}", f"-volume.port.grpc={ports[3]}",
         f"-filer.port={filer}", f"-filer.port.grpc={ports[5]}", f"-filer.localSocket={home}/filer.sock",
         f"-s3.port={s3}", f"-s3.port.grpc={ports[7]}", f"-s3.localSocket={home}/s3.sock",
         "-s3.port.iceberg=0", "-s3.port.lance=0", f"-s3.config={home}/keys.json"],
        log, "KILL",
    )
    # Sockets that it makes wherever it is told to live.
    for part, port in zip(("master", "volume", "filer", "s3"), ports[1::2]):
        LEFT_BEHIND.append(pathlib.Path(f"/tmp/seaweedfs-{part}-grpc-{port}.sock"))

    def ready():
        # A file can be placed, the bucket (a folder of the filer's) is made, and who has no key is refused.
        placed = fetch(f"http://127.0.0.1:{master}/dir/assign", "GET")
        return (
            placed == 200
            and fetch(f"http://127.0.0.1:{filer}/buckets/{BUCKET}/", "POST") in (201, 409)
            and fetch(f"http://127.0.0.1:{s3}/{BUCKET}", "GET") == 403
        )

    address = f"http://garim:{secret}@127.0.0.1:{s3}/{BUCKET}"
    return server, address, lambda: await_answer("the S3 server", server, log, ready)


def fetch(address, method):
    """The status, or None without an answer. Never through a proxy."""
    opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        return opener.open(urllib.request.Request(address, method=method), timeout=5).status
    except urllib.error.HTTPError as error:
        return error.code
    except OSError:
        return None


LEFT_BEHIND = []


def run(command, folder, servers):
    began = time.monotonic()
    # Digits and letters only, because it stands in addresses.
    secret = secrets.token_hex(16)
    # The S3 server first: it takes longer, and most of it is waiting.
    s3, s3_address, s3_ready = start_s3(folder, secret)
    servers.append((s3, signal.SIGKILL))
    postgres, postgres_address, postgres_ready = start_postgres(folder, secret)
    servers.append((postgres, signal.SIGQUIT))
    postgres_ready()
    s3_ready()
    print(f"servers: PostgreSQL and S3 ready in {time.monotonic() - began:.1f} s", file=sys.stderr)
    environment = dict(os.environ, GARIM_TEST_POSTGRES=postgres_address, GARIM_TEST_S3=s3_address)
    child = subprocess.Popen(command, env=environment)
    try:
        code = child.wait()
    except Terminated:
        child.terminate()
        try:
            child.wait(timeout=10)
        except subprocess.TimeoutExpired:
            child.kill()
            child.wait()
        raise
    return code if code >= 0 else 128 - code


def stop(folder, servers):
    # From here on nothing keeps this from cleaning up.
    for number in (signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    for process, by in servers:
        process.send_signal(by)
    for process, _ in servers:
        process.wait()
    for path in LEFT_BEHIND:
        path.unlink(missing_ok=True)
    shutil.rmtree(folder, ignore_errors=True)


def main():
    command = sys.argv[1:]
    if not command or command[0].startswith("-"):
        print(__doc__, file=sys.stderr)
        return 2

    def terminated(number, _frame):
        raise Terminated(number)

    # Ctrl-C goes to the command as well; it decides, and this program ends with it.
    signal.signal(signal.SIGINT, lambda *_: None)
    signal.signal(signal.SIGTERM, terminated)
    signal.signal(signal.SIGHUP, terminated)
    folder = pathlib.Path(tempfile.mkdtemp(prefix="garim-servers-"))
    # PostgreSQL's user must get to its own part of it.
    folder.chmod(0o711)
    servers = []
    try:
        return run(command, folder, servers)
    except Failed as error:
        print(f"servers: {error}", file=sys.stderr)
        return 1
    except OSError as error:
        print(f"servers: cannot run: {error}", file=sys.stderr)
        return 1
    except Terminated as error:
        return 128 + error.args[0]
    finally:
        stop(folder, servers)


if __name__ == "__main__":
    sys.exit(main())
