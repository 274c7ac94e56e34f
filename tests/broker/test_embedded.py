from __future__ import annotations

import contextlib
import hashlib
import importlib
import json
import os
import resource
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import psutil
import pytest
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from flowchan.broker import embedded
from flowchan.broker.embedded import binary, disk, locks
from flowchan.errors import BrokerUnavailable, InvalidSettingError
from flowchan.settings import Settings

ENSURE = """
import sys, time
from pathlib import Path
from flowchan.broker import embedded
from flowchan.settings import Settings

settings = Settings(home=Path(sys.argv[1]))
print("ready", flush=True)
sys.stdin.readline()
print(embedded.ensure(settings).pid, flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def base() -> Iterator[Path]:
    """A folder whose path leaves room for a socket; no process that belongs to it is left."""
    folder = Path(tempfile.mkdtemp(prefix="fc-", dir="/tmp")).resolve()
    try:
        yield folder
    finally:
        try:
            for home in {place.parent for place in folder.rglob("embedded")}:
                embedded.stop(Settings(home=home))
            eventually(lambda: not processes(folder))
        finally:
            for process in processes(folder):
                process.kill()
            shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def home(base: Path) -> Path:
    return base / "home"


def eventually(true: Callable[[], object], seconds: float = 15.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.01)


def processes(folder: Path, what: str = "") -> list[psutil.Process]:
    """The living processes, other than this, that have to do with a folder."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            text = " ".join(process.cmdline())
            belongs = str(folder) in text or process.cwd().startswith(str(folder))
            if belongs and what in text and process.pid != os.getpid() and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


def servers(folder: Path) -> list[int]:
    return [process.pid for process in processes(folder) if process.name() in ("valkey-server", "redis-server")]


def watchdogs(folder: Path) -> list[int]:
    return [process.pid for process in processes(folder, "watchdog.py")]


def gone(*pids: int) -> bool:
    for pid in pids:
        with contextlib.suppress(psutil.NoSuchProcess):
            if psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
                return False
    return True


def client(server: embedded.Server) -> redis.Redis:
    return redis.Redis(unix_socket_path=str(server.socket))


def add(server: embedded.Server, *values: int) -> None:
    with client(server) as connection:
        for value in values:
            connection.xadd("numbers", {"value": value})


def numbers(server: embedded.Server) -> list[int]:
    with client(server) as connection:
        return [int(fields[b"value"]) for _, fields in connection.xrange("numbers")]  # type: ignore[union-attr]


def configured(server: embedded.Server, name: str) -> str:
    with client(server) as connection:
        return str(connection.config_get(name)[name])  # type: ignore[index]


def digest(folder: Path) -> str:
    text = hashlib.sha256()
    for path in sorted(folder.rglob("*")):
        text.update(str(path).encode() + (path.read_bytes() if path.is_file() else b""))
    return text.hexdigest()


def newest_aof(server: embedded.Server) -> Path:
    return max((server.data / "appendonlydir").glob("*.incr.aof"))


@contextlib.contextmanager
def child(home: Path, **options: object) -> Iterator[subprocess.Popen[str]]:
    """A process that will call ensure() when told to, and end when told again."""
    with subprocess.Popen(
        [sys.executable, "-c", ENSURE, str(home)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        **options,  # type: ignore[call-overload]
    ) as process:
        assert process.stdout.readline() == "ready\n"
        yield process


def tell(process: subprocess.Popen[str]) -> None:
    assert process.stdin is not None
    process.stdin.write("\n")
    process.stdin.flush()


def answer(process: subprocess.Popen[str]) -> int:
    assert process.stdout is not None
    return int(process.stdout.readline())


# Finding and starting


def test_the_first_use_starts_a_server_that_answers(home: Path) -> None:
    server = embedded.ensure(Settings(home=home))

    with client(server) as connection:
        about = connection.info("server")
    assert about["process_id"] == server.pid
    assert about[f"{server.engine}_version"] == server.version
    assert server.data.is_relative_to(home)
    assert embedded.running(Settings(home=home)) == server


def test_the_second_use_finds_it(home: Path) -> None:
    first = embedded.ensure(Settings(home=home))

    assert embedded.ensure(Settings(home=home)) == first
    assert servers(home) == [first.pid]
    assert len(watchdogs(home)) == 1


def test_to_ask_starts_and_makes_nothing(home: Path) -> None:
    assert embedded.running(Settings(home=home)) is None
    assert embedded.stop(Settings(home=home)) is False
    assert not home.exists()


def test_eight_processes_at_once_start_one_server(home: Path) -> None:
    with contextlib.ExitStack() as stack:
        children = [stack.enter_context(child(home)) for _ in range(8)]
        for process in children:
            tell(process)
        pids = {answer(process) for process in children}
        for process in children:
            tell(process)

    assert servers(home) == list(pids)
    eventually(lambda: len(watchdogs(home)) == 1)


def test_eight_threads_at_once_start_one_server(home: Path) -> None:
    barrier = threading.Barrier(8)

    def ensure(_: int) -> embedded.Server:
        barrier.wait()
        return embedded.ensure(Settings(home=home))

    with ThreadPoolExecutor(8) as pool:
        assert len(set(pool.map(ensure, range(8)))) == 1
    assert len(servers(home)) == 1


def test_it_is_private_durable_and_refuses_rather_than_evicts(home: Path) -> None:
    server = embedded.ensure(Settings(home=home, server_fsync="always"))

    expected = {"port": "0", "appendonly": "yes", "appendfsync": "always", "save": "", "maxmemory-policy": "noeviction"}
    assert {name: configured(server, name) for name in expected} == expected
    for folder in (home, server.socket.parent, server.data):
        assert stat.S_IMODE(folder.stat().st_mode) == 0o700
    assert stat.S_IMODE(server.socket.stat().st_mode) == 0o700


def test_a_home_of_any_name_will_do(base: Path) -> None:
    home = base / """a 'home' of "mine" #1 %s \\ ü"""
    server = embedded.ensure(Settings(home=home))
    add(server, 1)
    embedded.stop(Settings(home=home))

    assert numbers(embedded.ensure(Settings(home=home))) == [1]


def test_two_spellings_of_a_home_are_one_home(base: Path, home: Path) -> None:
    server = embedded.ensure(Settings(home=home))
    (base / "link").symlink_to(home)

    assert embedded.ensure(Settings(home=base / "link")) == server


# Where it comes from does not matter


def test_it_gets_nothing_of_who_starts_it(base: Path, home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # Given a server that writes down what it finds, and a caller whose surroundings are unusual
    real = next(binary.usable(None)).path
    script = base / "server"
    script.write_text(f"""#!/bin/sh
[ "$1" = --version ] || {{ env; pwd; umask; ulimit -Sn; ulimit -Hn; }} > {base}/found
exec {real} "$@"
""")
    script.chmod(0o755)
    (base / "sitecustomize.py").write_text("import sys\nif 'watchdog' in str(sys.orig_argv): sys.exit(1)\n")
    monkeypatch.setenv("FLOWCHAN_SERVER_BIN", str(script))
    for name in ("PYTHONPATH", "TMPDIR", "HOME", "PYTHONHOME_"):
        monkeypatch.setenv(name, str(base))
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(base), *filter(None, sys.path)]))
    code = """
import os, resource, signal, sys
from flowchan.broker import embedded
from flowchan.settings import Settings
os.umask(0)
resource.setrlimit(resource.RLIMIT_NOFILE, (64, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
signal.signal(signal.SIGTERM, signal.SIG_IGN)
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
print(embedded.ensure(Settings(home=sys.argv[1], server_bin=os.environ["FLOWCHAN_SERVER_BIN"])).pid)
"""

    # When it starts the server
    ran = subprocess.run([sys.executable, "-c", code, home], cwd=base, stdout=subprocess.PIPE, check=True)

    # Then the server knows none of it
    found = (base / "found").read_text()
    *environment, folder, mask, soft, hard = found.splitlines()
    assert {line.split("=")[0] for line in environment} <= {"PATH", "LC_ALL", "PWD", "SHLVL", "_", "OLDPWD"}
    assert folder == "/"
    assert int(mask, 8) == 0o077
    assert soft == hard
    assert stat.S_IMODE(home.stat().st_mode) == 0o700
    os.kill(int(ran.stdout), signal.SIGTERM)
    eventually(lambda: not processes(home))
    assert f"server {int(ran.stdout)} ended with status 0" in (home / "embedded" / "server.log").read_text()


def test_it_keeps_no_pipe_open_and_stands_in_no_folder(base: Path, home: Path) -> None:
    ours, theirs = os.pipe()
    with child(home, stderr=subprocess.PIPE, cwd=base, pass_fds=[theirs]) as process:
        os.close(theirs)
        tell(process)
        pid = answer(process)
        tell(process)
        process.communicate(timeout=20)  # returns at the end of both pipes
        assert os.read(ours, 1) == b""
        os.close(ours)

    assert psutil.Process(pid).cwd() == str(home / "embedded" / "data")
    assert [psutil.Process(each).cwd() for each in watchdogs(home)] == ["/"]


def test_ctrl_c_in_the_terminal_does_not_reach_it(home: Path) -> None:
    with child(home, start_new_session=True, stderr=subprocess.DEVNULL) as process:
        tell(process)
        pid = answer(process)
        os.killpg(process.pid, signal.SIGINT)
        process.wait(20)

    assert numbers(embedded.ensure(Settings(home=home))) == []
    assert servers(home) == [pid]
    assert len(watchdogs(home)) == 1


def test_what_is_sent_to_the_watchdogs_group_does_not_reach_the_server(home: Path) -> None:
    server = embedded.ensure(Settings(home=home))

    os.killpg(os.getpgid(watchdogs(home)[0]), signal.SIGTERM)

    eventually(lambda: not watchdogs(home))
    assert embedded.ensure(Settings(home=home)) == server


# How it ends


def test_it_stops_when_nobody_has_been_connected_for_a_while_and_the_watchdog_with_it(home: Path) -> None:
    server = embedded.ensure(Settings(home=home, server_idle=0.2))
    add(server, 1, 2)

    eventually(lambda: not processes(home))

    assert not server.socket.exists()
    assert numbers(embedded.ensure(Settings(home=home))) == [1, 2]


def test_it_does_not_stop_under_a_client(home: Path) -> None:
    server = embedded.ensure(Settings(home=home, server_idle=0.1))
    with client(server) as connection:
        # Blocked in a read, as a receiver is, for many times the idle time.
        connection.xread({"numbers": "0"}, block=1000)
        connection.ping()

        assert servers(home) == [server.pid]

    eventually(lambda: gone(server.pid))


def test_whoever_comes_around_the_moment_of_the_stop_is_served(home: Path) -> None:
    settings = Settings(home=home, server_idle=0.1)
    for number in range(24):
        add(embedded.ensure(settings), number)
        # Not to wait for something: to come back at every moment before, in and after the stop.
        time.sleep(0.1 + number * 0.004)

    assert numbers(embedded.ensure(settings)) == list(range(24))


def test_the_watchdog_stops_nothing_while_a_process_has_the_turn(home: Path) -> None:
    server = embedded.ensure(Settings(home=home, server_idle=0.05))
    turn = locks.lock(str(home / "embedded" / locks.START_LOCK), wait=5)
    assert turn is not None
    time.sleep(0.5)  # ten times the idle time, and nobody connected
    assert servers(home) == [server.pid]

    locks.unlock(turn)

    eventually(lambda: gone(server.pid))


def test_who_asks_while_a_stop_is_being_decided_waits_for_the_decision(home: Path) -> None:
    settings = Settings(home=home)
    server = embedded.ensure(settings)
    with ThreadPoolExecutor(1) as pool:
        with locks.stopping(str(home / "embedded"), wait=5) as turn:
            assert turn
            asked = pool.submit(embedded.ensure, settings)
            with client(server) as connection:
                before = connection.info("stats")["total_connections_received"]
                # It looks again and again …
                eventually(lambda: connection.info("stats")["total_connections_received"] > before + 3)
            assert not asked.done()

        assert asked.result(20) == server


def test_stop_ends_all_and_keeps_the_data(home: Path) -> None:
    settings = Settings(home=home)
    server = embedded.ensure(settings)
    add(server, *range(100))

    assert embedded.stop(settings) is True

    assert not processes(home)
    assert embedded.running(settings) is None
    assert embedded.stop(settings) is False
    assert numbers(embedded.ensure(settings)) == list(range(100))


def test_a_server_that_the_system_ends_keeps_the_data_too(home: Path) -> None:
    server = embedded.ensure(Settings(home=home))
    add(server, *range(100))

    os.kill(server.pid, signal.SIGTERM)

    eventually(lambda: not processes(home))
    assert numbers(embedded.ensure(Settings(home=home))) == list(range(100))


def test_stop_says_when_the_server_does_not_end(home: Path) -> None:
    settings = Settings(home=home)
    server = embedded.ensure(settings)
    os.kill(server.pid, signal.SIGSTOP)
    try:
        with pytest.raises(BrokerUnavailable, match=f"process {server.pid}.* did not stop"):
            embedded.stop(settings, timeout=0.2)
    finally:
        os.kill(server.pid, signal.SIGCONT)


def kill(*pids: int) -> None:
    for pid in pids:
        os.kill(pid, signal.SIGKILL)
    eventually(lambda: gone(*pids))


def test_a_killed_watchdog_harms_nothing_and_is_replaced(home: Path) -> None:
    settings = Settings(home=home, server_idle=0.3)
    server = embedded.ensure(settings)
    with client(server) as connection:
        connection.xadd("numbers", {"value": 1})
        first = watchdogs(home)
        kill(*first)
        assert connection.ping()

        assert embedded.ensure(settings) == server
        assert embedded.ensure(settings) == server

        assert len(watchdogs(home)) == 1
        assert watchdogs(home) != first
    assert numbers(server) == [1]
    eventually(lambda: gone(server.pid))  # the new one does what the old one would have done


def test_a_killed_server_loses_nothing_that_it_had_acknowledged(home: Path) -> None:
    settings = Settings(home=home)
    server = embedded.ensure(settings)
    add(server, *range(2000))

    kill(server.pid)

    eventually(lambda: not watchdogs(home))
    again = embedded.ensure(settings)
    assert again.pid != server.pid
    assert numbers(again) == list(range(2000))


def test_a_server_killed_after_a_pause_loses_nothing_that_it_had_acknowledged(home: Path) -> None:
    # With appendfsync everysec a second of silence makes the next write start a sync, and the writes during that
    # sync wait in the server's memory, acknowledged: three of ten such kills lost some.
    settings = Settings(home=home)
    sent = 0
    for _ in range(6):
        server = embedded.ensure(settings)
        add(server, sent)
        time.sleep(1.2)  # the pause itself is what is tested
        add(server, sent + 1, sent + 2, sent + 3)
        kill(server.pid)
        sent += 4
        eventually(lambda: not watchdogs(home))

    assert numbers(embedded.ensure(settings)) == list(range(sent))


def test_what_was_appended_is_synced_once(tmp_path: Path) -> None:
    files = disk.Disk(str(tmp_path / "later"))
    assert files.sync() == []
    (tmp_path / "later").mkdir()
    (tmp_path / "later" / "one").write_text("1")
    assert files.sync() == ["one"]
    assert files.sync() == []
    (tmp_path / "later" / "one").write_text("12")
    assert files.sync() == ["one"]


def test_a_server_killed_under_load_loses_nothing_that_it_had_acknowledged(home: Path) -> None:
    settings = Settings(home=home)
    server = embedded.ensure(settings)
    acknowledged: list[int] = []

    def load() -> None:
        once = Retry(NoBackoff(), 0)
        connection = redis.Redis(unix_socket_path=str(server.socket), retry=once)
        with connection, contextlib.suppress(redis.ConnectionError):
            while True:
                connection.xadd("numbers", {"value": len(acknowledged)})
                acknowledged.append(len(acknowledged))

    thread = threading.Thread(target=load)
    thread.start()
    eventually(lambda: len(acknowledged) > 500)
    os.kill(server.pid, signal.SIGKILL)
    # At once, while the old watchdog may still be there.
    again = embedded.ensure(settings)
    thread.join()

    assert numbers(again)[: len(acknowledged)] == acknowledged


def test_a_watchdog_whose_connection_is_closed_comes_back(home: Path) -> None:
    server = embedded.ensure(Settings(home=home, server_idle=0.3))
    with client(server) as connection:
        connection.client_kill_filter(_type="normal", skipme=True)
        eventually(lambda: connection.info("clients")["connected_clients"] == 2)
        assert len(watchdogs(home)) == 1

    eventually(lambda: gone(server.pid))


def test_all_killed_at_once_is_only_a_stop(home: Path) -> None:
    settings = Settings(home=home)
    server = embedded.ensure(settings)
    add(server, 1, 2, 3)

    kill(*watchdogs(home), server.pid)

    assert numbers(embedded.ensure(settings)) == [1, 2, 3]


def test_a_deleted_home_takes_its_server_along(home: Path) -> None:
    embedded.ensure(Settings(home=home))

    shutil.rmtree(home)

    eventually(lambda: not processes(home))


def test_a_home_that_was_deleted_and_made_again_gets_a_server_of_its_own(base: Path) -> None:
    # Given a home so deep that the socket is elsewhere, and outlives it
    home = base / ("deep" * 30)
    old = embedded.ensure(Settings(home=home))
    add(old, 1)
    shutil.rmtree(home)

    new = embedded.ensure(Settings(home=home))

    assert new.pid != old.pid
    assert numbers(new) == []
    eventually(lambda: gone(old.pid))
    assert numbers(embedded.ensure(Settings(home=home))) == []


def test_a_deleted_socket_is_made_again(home: Path) -> None:
    settings = Settings(home=home, server_idle=2)
    server = embedded.ensure(settings)
    add(server, 1)
    with client(server) as connection:
        # Its watchdog has seen it, then; one that has not takes the socket for one that is still to be made.
        eventually(lambda: connection.info("clients")["connected_clients"] == 2)
    server.socket.unlink()

    assert numbers(embedded.ensure(settings)) == [1]
    assert len(servers(home)) == 1


# What it finds in its home


def test_leftovers_of_a_crash_do_not_matter(home: Path) -> None:
    settings = Settings(home=home)
    server = embedded.ensure(settings)
    add(server, 1)
    kill(*watchdogs(home), server.pid)
    assert server.socket.exists()
    for name in (locks.START_LOCK, locks.STOP_LOCK, locks.WATCHDOG_LOCK, locks.DATA_LOCK, "server.pid"):
        (home / "embedded" / name).write_text("1")

    assert numbers(embedded.ensure(settings)) == [1]


def test_a_deep_home_has_its_socket_in_a_private_folder(base: Path) -> None:
    home = base / ("deep" * 30)
    settings = Settings(home=home, server_idle=0.2)
    server = embedded.ensure(settings)
    add(server, 1)

    assert len(os.fsencode(server.socket)) < 104
    assert server.socket.parent.name.startswith(f"flowchan-{os.geteuid()}-")
    assert stat.S_IMODE(server.socket.parent.stat().st_mode) == 0o700
    assert server.data.is_relative_to(home)
    eventually(lambda: not processes(base))
    assert not server.socket.parent.exists()
    assert numbers(embedded.ensure(settings)) == [1]
    embedded.stop(settings)
    assert not server.socket.parent.exists()


@pytest.mark.parametrize("trick", ["open to others", "a link", "of another user"])
def test_a_folder_in_tmp_that_others_could_have_made_is_not_trusted(base: Path, trick: str) -> None:
    # Given the place where the socket of a deep home would be
    home = base / ("deep" * 30)
    settings = Settings(home=home)
    folder = embedded.ensure(settings).socket.parent
    embedded.stop(settings)
    if trick == "a link":
        folder.symlink_to(base)
    else:
        folder.mkdir()
        folder.chmod(0o777)
    if trick == "of another user" and os.geteuid() == 0:
        folder.chmod(0o700)
        os.chown(folder, 65534, -1)

    # Then it is neither used nor changed
    try:
        with pytest.raises(InvalidSettingError, match=str(folder)):
            embedded.ensure(settings)
        assert embedded.running(settings) is None
        assert not processes(base)
    finally:
        folder.unlink() if folder.is_symlink() else folder.rmdir()


def test_an_older_engine_does_not_touch_newer_data(home: Path) -> None:
    settings = Settings(home=home)
    server = embedded.ensure(settings)
    add(server, 1)
    embedded.stop(settings)
    (server.data / "engine.json").write_text('{"engine": "valkey", "version": "99.0.0"}')
    before = digest(server.data)

    with pytest.raises(BrokerUnavailable) as caught:
        embedded.ensure(settings)

    assert "written by Valkey 99.0.0" in str(caught.value)
    assert "Needed is Valkey 99.0 or newer" in str(caught.value)
    assert f"{server.engine.capitalize()} {server.version}" in str(caught.value)
    assert str(server.data) in str(caught.value)
    assert digest(server.data) == before
    assert not processes(home)


def test_a_server_that_can_read_the_data_is_taken_before_one_that_comes_first(
    base: Path, home: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Given data of a version that only the server on PATH claims to be
    settings = Settings(home=home)
    server = embedded.ensure(settings)
    add(server, 1)
    embedded.stop(settings)
    (server.data / "engine.json").write_text('{"engine": "valkey", "version": "99.0.0"}')
    on_path = base / "bin" / "valkey-server"
    on_path.parent.mkdir()
    real = next(binary.usable(None)).path
    on_path.write_text(f'#!/bin/sh\n[ "$1" = --version ] && echo "Valkey server v=99.1.0" && exit\nexec {real} "$@"\n')
    on_path.chmod(0o755)
    monkeypatch.setenv("PATH", f"{on_path.parent}{os.pathsep}{os.environ['PATH']}")

    assert numbers(embedded.ensure(settings)) == [1]
    assert json.loads((server.data / "engine.json").read_text()) == {"engine": "valkey", "version": "99.1.0"}


@pytest.mark.parametrize("stamp", ['{"engine": "redis", "version": "7.0.15"}', "no JSON", None])
def test_a_newer_engine_takes_older_data_over_and_stamps_it(home: Path, stamp: str | None) -> None:
    settings = Settings(home=home)
    server = embedded.ensure(settings)
    add(server, 1)
    embedded.stop(settings)
    path = server.data / "engine.json"
    path.unlink() if stamp is None else path.write_text(stamp)

    assert numbers(embedded.ensure(settings)) == [1]
    assert json.loads(path.read_text()) == {"engine": server.engine, "version": server.version}


def test_a_file_that_was_cut_by_a_crash_is_loaded_up_to_the_cut(home: Path) -> None:
    settings = Settings(home=home)
    server = embedded.ensure(settings)
    add(server, *range(50))
    kill(server.pid)
    file = newest_aof(server)
    os.truncate(file, file.stat().st_size - 7)

    assert numbers(embedded.ensure(settings)) == list(range(49))


def test_a_file_that_cannot_be_loaded_is_an_error_with_the_servers_words(home: Path) -> None:
    settings = Settings(home=home)
    server = embedded.ensure(settings)
    add(server, *range(50))
    embedded.stop(settings)
    file = newest_aof(server)
    content = file.read_bytes()
    file.write_bytes(content[:500] + b"*garbage*" + content[509:])
    before = digest(server.data)

    with pytest.raises(BrokerUnavailable) as caught:
        embedded.ensure(settings)

    assert "Bad file format reading the append only file" in str(caught.value)
    assert str(home / "embedded" / "server.log") in str(caught.value)
    assert digest(server.data) == before
    eventually(lambda: not processes(home))


def test_a_server_that_does_not_come_up_leaves_the_stamp_as_it_was(base: Path, home: Path) -> None:
    broken = base / "broken"
    broken.write_text(
        '#!/bin/sh\n[ "$1" = --version ] && echo "Valkey server v=99.0.0" && exit\necho out of luck >&2\nexit 3\n'
    )
    broken.chmod(0o755)

    with pytest.raises(BrokerUnavailable, match="out of luck"):
        embedded.ensure(Settings(home=home, server_bin=broken))

    assert embedded.ensure(Settings(home=home)).version != "99.0.0"


def test_a_server_that_does_not_answer_is_named_and_comes_back(home: Path) -> None:
    settings = Settings(home=home, connect_timeout=0.3)
    server = embedded.ensure(settings)
    os.kill(server.pid, signal.SIGSTOP)
    try:
        with pytest.raises(BrokerUnavailable, match=f"process {server.pid}.* has not answered"):
            embedded.ensure(settings)
    finally:
        os.kill(server.pid, signal.SIGCONT)

    assert embedded.ensure(settings) == server


def test_a_home_that_is_a_file_is_named(home: Path) -> None:
    home.write_text("")

    with pytest.raises(InvalidSettingError, match=r"FLOWCHAN_HOME .* is not a folder"):
        embedded.ensure(Settings(home=home))
    with pytest.raises(InvalidSettingError, match=r"FLOWCHAN_HOME .* is not a folder"):
        embedded.ensure(Settings(home=home / "below"))


def test_a_home_that_cannot_be_written_is_named(base: Path, home: Path) -> None:
    importlib.import_module("flowchan.broker.embedded.startup")  # somebody else may not read where it stands
    base.chmod(0o555)
    user = os.geteuid()
    try:
        if user == 0:
            os.seteuid(65534)
        with pytest.raises(InvalidSettingError, match=r"FLOWCHAN_HOME .*Permission denied"):
            embedded.ensure(Settings(home=home))
    finally:
        os.seteuid(user)
        base.chmod(0o700)


def test_a_disk_that_takes_nothing_more_is_named(home: Path) -> None:
    code = """
import resource, sys
from flowchan.broker import embedded
from flowchan.errors import BrokerUnavailable
from flowchan.settings import Settings
limits = resource.getrlimit(resource.RLIMIT_FSIZE)
resource.setrlimit(resource.RLIMIT_FSIZE, (0, limits[1]))
try:
    embedded.ensure(Settings(home=sys.argv[1]))
except BrokerUnavailable as error:
    resource.setrlimit(resource.RLIMIT_FSIZE, limits)  # what measures coverage writes at the end
    print(error)
"""
    ran = subprocess.run([sys.executable, "-B", "-c", code, home], stdout=subprocess.PIPE, text=True, check=True)

    assert "FLOWCHAN_HOME" in ran.stdout
    assert "File too large" in ran.stdout
    assert not processes(home)


def test_a_process_with_very_many_files_open_can_start_it(home: Path) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(hard, 4096) if hard != resource.RLIM_INFINITY else 4096, hard))
    files = []
    try:
        files = [os.open(os.devnull, os.O_RDONLY) for _ in range(1100)]
        assert numbers(embedded.ensure(Settings(home=home))) == []
    finally:
        for file in files:
            os.close(file)
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_a_long_log_is_put_aside(home: Path) -> None:
    settings = Settings(home=home)
    embedded.ensure(settings)
    embedded.stop(settings)
    log = home / "embedded" / "server.log"
    log.write_bytes(b"x" * (1024 * 1024 + 1))

    embedded.ensure(settings)

    assert log.stat().st_size < 100_000
    assert log.with_suffix(".log.1").stat().st_size > 1024 * 1024
