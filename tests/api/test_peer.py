"""Without authentication nobody else of the machine gets in."""

import contextlib
import os
import pwd
import shutil
import socket
import struct
import subprocess
import tempfile
import time
from pathlib import Path

import pytest
from msgspec.structs import replace

from fakes import served as fake
from fakes.other_user import NAME, become
from tesk.http.peer import Peers, by_netlink, by_proc, uid_of
from tesk.settings import Settings

CURL = ["curl", "--silent", "--max-time", "20", "--write-out", "%{http_code}", "--output", os.devnull]
root = pytest.mark.skipif(os.geteuid() != 0, reason="only root can be somebody else")


def curl(port, user, *words):
    if shutil.which("curl") is None:
        pytest.skip("curl is not installed")
    who = {} if user is None else {"user": user, "group": pwd.getpwnam(user).pw_gid, "extra_groups": ()}
    url = f"http://127.0.0.1:{port}/v1/tasks"
    done = subprocess.run([*CURL, *words, url], cwd="/", capture_output=True, text=True, check=True, **who)
    return int(done.stdout)


@root
def test_another_user_of_the_machine_is_refused_and_its_own_is_served(served):
    assert curl(served.port, None) == 200
    assert curl(served.port, "nobody") == 403
    assert curl(served.port, "daemon", "-H", "X-Forwarded-For: 127.0.0.1", "-H", "Forwarded: for=127.0.0.1") == 403
    assert curl(served.port, None) == 200


@root
def test_with_insecure_everybody_is_served(tmp_path):
    settings = Settings()
    with fake.serve(tmp_path, replace(settings, server=replace(settings.server, insecure=True))) as served:
        assert curl(served.port, "nobody") == 200


@root
def test_a_server_without_rights_serves_its_own_user_and_root_and_nobody_else(tmp_path):
    with served_by(NAME, tmp_path) as port:
        assert curl(port, "nobody") == 200
        assert curl(port, None) == 200
        assert curl(port, "daemon") == 403


@contextlib.contextmanager
def served_by(name, folder):
    """Serve as another user, from a process of its own; yield the port."""
    entry = pwd.getpwnam(name)
    mine, theirs = socket.socketpair()
    with mine, theirs:
        pid = os.fork()
        if pid == 0:
            mine.close()
            _serve_as(entry, folder, theirs)
        theirs.close()
        mine.settimeout(60)
        try:
            yield int(mine.recv(100))
        finally:
            mine.close()
            os.waitpid(pid, 0)


def _serve_as(entry, folder, line):
    status = 1
    try:
        (folder / "before").mkdir()
        with fake.serve(folder / "before") as served:  # whatever is imported late is imported now
            served.get("/v1/tasks")
        with tempfile.TemporaryDirectory(dir="/var/tmp") as theirs:
            os.chown(theirs, entry.pw_uid, entry.pw_gid)
            become(Path(theirs))
            with fake.serve(Path(theirs)) as served:
                line.send(str(served.port).encode())
                line.recv(1)  # until the test lets go
            status = 0
    finally:
        os._exit(status)


@pytest.fixture(params=[("127.0.0.1", socket.AF_INET), ("::1", socket.AF_INET6)], ids=["IPv4", "IPv6"])
def line(request):
    """Give both ends of a connection: the client's and the server's."""
    address, family = request.param
    with socket.socket(family) as listening:
        try:
            listening.bind((address, 0))
        except OSError:
            pytest.skip(f"this machine has no {address}")
        listening.listen()
        client = socket.create_connection(listening.getsockname()[:2])
        server, _ = listening.accept()
        with client, server:
            yield client, server


def ends(server):
    return server.getpeername()[:2], server.getsockname()[:2]


def test_both_ways_of_asking_say_whose_a_connection_is(line):
    assert by_netlink(*ends(line[1])) == by_proc(*ends(line[1])) == os.geteuid()


def test_a_socket_that_was_closed_is_nobodys_though_older_kernels_call_it_roots(line):
    client, server = line
    where = ends(server)
    client.close()
    assert uid_of(*where) is None


def test_a_socket_that_only_sends_no_more_is_still_its_owners(line):
    client, server = line
    client.shutdown(socket.SHUT_WR)
    assert uid_of(*ends(server)) == os.geteuid()


def test_a_connection_that_was_reset_is_nobodys(line):
    client, server = line
    where = ends(server)
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()
    assert uid_of(*where) is None


def test_each_connection_is_asked_about_once_and_a_new_one_at_the_same_address_anew(line):
    client, server = line
    peers = Peers()
    here, there = ends(server)
    assert peers.may_come(here, there)
    client.close()
    assert peers.may_come(here, there)  # the same connection: the same object
    assert not peers.may_come((str(here[0]), here[1] + 0), there) or here is (here[0], here[1])
    assert not peers.may_come(None, there)


def test_asking_costs_well_under_a_millisecond_and_only_once(line):
    here, there = ends(line[1])
    began = time.perf_counter()
    for _ in range(50):
        assert uid_of(here, there) is not None
    assert (time.perf_counter() - began) / 50 < 1e-3
