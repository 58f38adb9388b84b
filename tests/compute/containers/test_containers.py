"""What a task gets in its own image, and what it does not."""

import asyncio
import os
from pathlib import Path

import pytest

from fakes.attempts import ShelfStager, codes, finish, new_attempt, plan, shell, stdout, until, wait_for_words
from fakes.engine import Engine
from tesk.compute.backend import Phase
from tesk.errors import CannotRun
from tesk.tes.task import Executor, Output


def ran(backend, *executors: Executor, stager=None, settings=None, **task):
    """Run executors as one task and return what was seen."""

    async def story():
        async with backend(stager, **(settings or {})) as place:
            return await finish(place, plan(*executors, **task))

    return asyncio.run(story())


def test_the_command_takes_the_place_of_the_entry_point_and_its_arguments(backend, engine: Engine) -> None:
    engine.build(
        "localhost/entry:1", 'ENTRYPOINT ["/bin/false"]', 'CMD ["never"]', "ENV OF_THE_IMAGE=1", "WORKDIR /home"
    )
    seen = ran(
        backend, Executor(image="localhost/entry:1", command=("sh", "-c", "pwd; echo $OF_THE_IMAGE $1", "sh", "-n"))
    )
    assert stdout(seen) == "/home\n1 -n\n"
    assert seen.metadata["executors.0.image_digest"].startswith("sha256:")


def test_an_image_with_volumes_and_a_program_called_init_is_like_any_other(backend, engine: Engine) -> None:
    engine.build(
        "localhost/odd:1",
        'VOLUME ["/kept"]',
        "USER somebody",
        files={"sbin/init": b"#!/bin/sh\nmount | grep -c tmpfs.*/run\n"},
    )
    seen = ran(backend, Executor(image="localhost/odd:1", command=("/sbin/init",)), shell("touch /kept/x; id -u"))
    assert (seen.executor_logs[0].stdout, codes(seen)[0]) == ("0\n", 1)
    assert engine.run("volume", "ls", "--quiet") == ""


def test_variables_of_any_kind_arrive_and_stand_in_no_command_line(backend) -> None:
    odd = {
        "LINES": "one\n  two\\n\n\"three\" & /four/ 'five'\n",
        "RETURN": "a\r",
        "QUOTED": '"quoted"',
        "PLAIN": "  it's = $HOME #plain",
        "with-dash.dot": "x",
        "LONG": "y" * 100_000,
        "LD_PRELOAD": "/nowhere\n/evil.so",
        "EMPTY": "",
    }
    stager = ShelfStager()

    async def story() -> None:
        async with backend(stager) as place:
            attempt = new_attempt()
            out = (Output(path="/data/env", url="file:///x"),)
            shown = Executor(image="debian", command=("env", "-0"), env=odd, stdout="/data/env")
            sleeps = shell("echo ready; sleep 1000", env=odd | {"SECRET": "hush-hush"})
            await place.start(attempt, plan(shown, sleeps, outputs=out))
            await wait_for_words(place, attempt, b"ready", 1)
            lines = b"".join(_command_lines())
            assert b"podman" in lines
            assert b"hush-hush" not in lines
            assert b"/evil.so" not in lines
            await place.forget(attempt)
            seen = await finish(place, plan(shown, outputs=out))
            assert codes(seen) == [0], seen

    asyncio.run(story())
    env = dict(entry.split("=", 1) for entry in stager.shelf["/data/env"].decode().split("\0") if entry)
    assert {name: env[name] for name in odd} == odd
    assert "CONTAINERS_CONF" not in env


def _command_lines():
    for entry in Path("/proc").iterdir():
        if entry.name.isdecimal():
            try:
                yield (entry / "cmdline").read_bytes()
            except OSError:
                continue


def test_who_uses_too_much_memory_is_told_so(backend) -> None:
    seen = ran(backend, shell("dd if=/dev/zero of=/dev/null bs=200M count=1; exit $?"), ram_bytes=50_000_000)
    _skip_without_limits(seen)
    assert codes(seen) == [137]
    assert "executors[0]: out of memory (limit 0.05 GB)." in seen.notes
    assert ran(backend, shell("kill -9 $$")).notes == ()


def test_what_a_task_writes_counts_also_in_the_images_own_folders(backend) -> None:
    seen = ran(
        backend,
        shell("dd if=/dev/zero of=/opt-file bs=1M count=30; sleep 100"),
        disk_bytes=10_000_000,
        settings={"disk_check_seconds": 0.1},
    )
    assert (seen.phase, seen.reason, seen.final) == (Phase.SYSTEM_FAILED, "disk full (limit 0.01 GB)", True)


def test_of_a_stream_that_nobody_named_only_the_end_takes_disk(backend, tmp_path: Path) -> None:
    async def story() -> None:
        async with backend(disk_check_seconds=0.05) as place:
            attempt = new_attempt()
            script = "dd if=/dev/zero bs=1M count=50; echo ready >&2; sleep 0.5; read x; echo; echo end"
            await place.start(attempt, plan(shell(script, stdin=None), tail_bytes=10))
            own = tmp_path / f"containers/attempts/{attempt}/own/0/stdout"
            async with asyncio.timeout(60):
                while not (own.exists() and own.stat().st_size > 50_000_000 and own.stat().st_blocks * 512 < 5_000_000):  # noqa: ASYNC110  a file tells nobody
                    await asyncio.sleep(0.02)
            seen = await until(place, attempt)
            assert stdout(seen).endswith("\nend\n")
            assert seen.metadata["executors.0.stdout_size_bytes"] == str(50 * 1024 * 1024 + 5)
            await place.forget(attempt)

    asyncio.run(story())


@pytest.mark.parametrize("user", ["", "1234:1234", "somebody"])
def test_what_any_user_writes_with_any_mask_is_taken_and_deleted(backend, tmp_path: Path, user: str) -> None:
    stager = ShelfStager()
    script = (
        "umask 777; echo x >/data/new; mkdir -p /data/d; mkdir -p /data/d/e; touch /data/d/f; echo y >/single; id -u"
    )
    outputs = tuple(Output(path=path, url="file:///x") for path in ("/data/new", "/single"))
    seen = ran(backend, shell(script), stager=stager, outputs=outputs, volumes=("/data",), settings={"user": user})
    assert stdout(seen) == ("1234\n" if user else "0\n")
    assert stager.shelf == {"/data/new": b"x\n", "/single": b"y\n"}
    assert not [*(tmp_path / "containers/attempts").iterdir()]
    assert not [*(tmp_path / "containers/trash").iterdir()]


def test_a_container_has_few_capabilities_and_gets_no_more(backend) -> None:
    seen = ran(
        backend, shell("grep -E 'CapEff|NoNewPrivs' /proc/self/status; mount -t tmpfs x /mnt; mknod /n c 1 3; id -u")
    )
    lines = stdout(seen).split("\n")
    assert lines[:2] == ["CapEff:\t00000000000404fb", "NoNewPrivs:\t1"]
    assert lines[2] == "0"
    assert (seen.executor_logs[0].stderr or "").lower().count("not permitted") + (
        seen.executor_logs[0].stderr or ""
    ).count("permission denied") >= 1


def test_a_container_has_no_more_processes_than_the_limit(backend) -> None:
    script = "i=0; while [ $i -lt 40 ]; do sleep 5 & i=$((i+1)); done 2>&1 | head -n 1; true"
    seen = ran(backend, shell(script), settings={"processes_limit": 20})
    _skip_without_limits(seen)
    assert "can't fork" in stdout(seen)


def _skip_without_limits(seen) -> None:
    for note in seen.notes:
        if "cannot limit" in note:
            pytest.skip(note)


def test_a_working_directory_that_the_image_has_is_not_covered(backend, engine: Engine) -> None:
    engine.build("localhost/tool:1", files={"srv/tool/script": b"#!/bin/sh\necho ran\n"})
    tool = Executor(image="localhost/tool:1", command=("./script",), workdir="/srv/tool")
    other = shell("ls; touch made", workdir="/srv/tool")
    seen = ran(backend, tool, other, shell("ls", workdir="/srv/tool"))
    assert [stdout(seen, step) for step in range(3)] == ["ran\n", "", "made\n"]


def test_a_link_in_the_place_of_a_shared_folder_leads_no_container_out(backend, engine: Engine, tmp_path: Path) -> None:
    # The first image has no /w, so a folder of the task's stands for all of it, the volume in it, too. The second one has.
    engine.build("localhost/has-w:1", files={"w/there": b""})
    (tmp_path / "host").mkdir()
    plants = shell(f"rmdir v && ln -s {tmp_path}/host v", workdir="/w")
    looks = Executor(image="localhost/has-w:1", command=("touch", "/w/v/reached"), workdir="/w")
    seen = ran(backend, plants, looks, volumes=("/w/v",))
    assert (seen.phase, codes(seen)) == (Phase.SYSTEM_FAILED, [0])
    assert seen.reason == "/w/v: an executor has put a link in its place, or above it."
    assert not [*(tmp_path / "host").iterdir()]


def test_an_image_that_is_not_there_is_told_in_the_engines_words(backend) -> None:
    seen = ran(backend, Executor(image="localhost:1/no/such:1", command=("true",)), settings={"pull": "missing"})
    assert seen.phase is Phase.SYSTEM_FAILED
    assert "localhost:1/no/such:1" in seen.reason
    assert "connection refused" in seen.reason
    seen = ran(backend, Executor(image="never-heard-of", command=("true",)))
    assert (seen.phase, seen.final) == (Phase.SYSTEM_FAILED, True)
    assert seen.reason == (
        "Image never-heard-of cannot be had: the machine has no such image, and containers.pull is never."
    )


def test_an_image_that_was_named_anew_is_seen_at_once(backend, engine: Engine) -> None:
    async def story() -> None:
        async with backend() as place:
            engine.build("localhost/mine:1", files={"which": b"1"})
            task = plan(Executor(image="localhost/mine:1", command=("cat", "/which")))
            first = await finish(place, task)
            engine.build("localhost/mine:1", files={"which": b"2"})
            second = await finish(place, task)
            assert (stdout(first), stdout(second)) == ("1", "2")
            digests = {seen.metadata["executors.0.image_digest"] for seen in (first, second)}
            assert len(digests) == 2

    asyncio.run(story())


@pytest.mark.parametrize(
    "image", ["--privileged", "docker-archive:/etc/shadow", "oci:/x", "dir:x", "a b", "", "x:y:z", "../x", "a@sha256:1"]
)
def test_what_is_no_name_of_an_image_never_reaches_the_engine(backend, image: str) -> None:
    async def story() -> None:
        async with backend() as place:
            with pytest.raises(CannotRun) as refused:
                await place.start(new_attempt(), plan(Executor(image=image, command=("true",))))
            assert repr(image) in str(refused.value)

    asyncio.run(story())


def test_paths_with_odd_characters_are_shown_and_impossible_ones_are_named(backend) -> None:
    paths = ["/da:ta", "/a,b", "/with space", '/quo"te', "/back\\slash", "/é"]
    script = "".join(f"echo x >'{path}/f' && " for path in paths) + "true"
    assert ran(backend, shell(script), volumes=tuple(paths)).phase is Phase.DONE
    with pytest.raises(CannotRun, match="/a:b,c"):
        ran(backend, shell("true"), volumes=("/a:b,c",))


def test_the_network_leads_out_but_not_to_this_machine(backend) -> None:
    async def story() -> None:
        reached = []
        server = await asyncio.start_server(lambda _, writer: (reached.append(1), writer.close()), "0.0.0.0", 0)
        port = server.sockets[0].getsockname()[1]
        script = (
            "gateway=$(ip route | sed -n 's/default via \\([^ ]*\\).*/\\1/p'); echo $gateway; "
            f"for each in $gateway 169.254.169.254 127.0.0.1; do nc -w 2 $each {port} </dev/null && echo $each; done; true"
        )
        async with backend(network="nat") as place:
            seen = await finish(place, plan(shell(script)))
        server.close()
        if seen.phase is Phase.SYSTEM_FAILED and any(word in seen.reason for word in ("netavark", "/dev/net/tun")):
            pytest.skip(f"the engine cannot make a network here: {seen.reason}")
        assert len(stdout(seen).splitlines()) == 1
        assert stdout(seen).strip()
        assert not reached

    asyncio.run(story())


def test_without_a_network_there_is_none(backend) -> None:
    assert stdout(ran(backend, shell("ip route; ip -o link | wc -l"))) == "1\n"


def test_what_the_engine_refuses_is_told_in_its_words(backend) -> None:
    seen = ran(backend, shell("true"), settings={"user": "nobody-there"})
    assert seen.phase is Phase.SYSTEM_FAILED
    assert "nobody-there" in seen.reason
    assert seen.final


def test_a_stop_before_the_container_runs_is_heard(backend, engine: Engine) -> None:
    async def story() -> None:
        async with backend() as place:
            attempt = new_attempt()
            await place.start(attempt, plan(shell("sleep 1000")))
            await until(place, attempt, lambda seen: seen.phase is Phase.RUNNING)
            await place.stop(attempt, 0)
            seen = await until(place, attempt)
            assert seen.phase is Phase.PREEMPTED, seen.reason
            await place.forget(attempt)
            label = place._machine.label
        assert engine.run("ps", "--all", "--quiet", "--filter", f"label={label}") == ""

    asyncio.run(story())


def test_the_server_and_its_user_are_told_apart_from_others(backend, tmp_path: Path) -> None:
    ran(backend, shell("true"))
    assert os.stat(tmp_path / "containers").st_mode & 0o777 == 0o700
