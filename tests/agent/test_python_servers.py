"""Which command lines are Python servers, and what they were told."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from agent import procfs, python_servers
from agent.procfs import Process
from agent.python_servers import Server
from tests.lab.waiting import until


@pytest.mark.parametrize(
    ("title", "program"),
    [
        ("python3 -m uvicorn app.main:app --workers 4", "uvicorn"),
        ("/venv/bin/python /venv/bin/gunicorn -w2 shop.wsgi:application", "gunicorn"),
        ("/venv/bin/uvicorn orders:app", "uvicorn"),
        ("gunicorn: master [shop.wsgi]", "gunicorn"),
        ("/usr/bin/python3.11 -u -X dev -m uvicorn x:y", "uvicorn"),
        ("python -W ignore /venv/bin/celery -A shop worker", "celery"),
        ("python3 -c import gunicorn", ""),
        ("python3 -m pytest uvicorn", ""),
        ("python3 manage.py gunicorn", ""),
        ("vi gunicorn", ""),
        ("python3", ""),
        ("", ""),
    ],
)
def test_a_server_is_known_by_what_its_command_line_runs(title: str, program: str) -> None:
    assert python_servers.program(title) == program


@pytest.mark.parametrize(
    ("words", "environment", "expected"),
    [
        ("uvicorn orders:app --workers 4", {}, (4, "--workers 4")),
        ("gunicorn -w 3 shop.wsgi", {}, (3, "-w 3")),
        ("gunicorn -w3 shop.wsgi", {}, (3, "-w3")),
        ("gunicorn --workers=5", {}, (5, "--workers=5")),
        ("gunicorn", {"WEB_CONCURRENCY": "6"}, (6, "WEB_CONCURRENCY=6")),
        ("gunicorn", {"WEB_CONCURRENCY": "many"}, (0, "")),
        ("gunicorn --worker-class x", {}, (0, "")),
        ("gunicorn --workers 4x", {}, (0, "")),
        ("gunicorn -w 2 -w 4", {}, (4, "-w 4")),
        ("gunicorn --access-logfile /var/log/x-w 3", {}, (0, "")),
        ("uvicorn a:b --workers 4 --reload", {}, (0, "")),
        ("celery -A proj worker -c 100 -P gevent", {}, (0, "")),
        ("celery --pool=threads --concurrency=8", {}, (0, "")),
    ],
)
def test_how_many_workers_there_should_be_is_read_from_words_and_environment(
    words: str, environment: dict[str, str], expected: tuple[int, str]
) -> None:
    script = ["sh", "-c", "sleep 300 & wait", *words.split()]
    with subprocess.Popen(script, env=environment | {"PATH": "/usr/bin:/bin"}) as process:
        try:
            until("started", lambda: b"wait" in (procfs.PROC / str(process.pid) / "cmdline").read_bytes())
            known = procfs.read_process(process.pid)
            assert known is not None
            assert python_servers.expected_workers(Server(known, "gunicorn", "")) == expected
        finally:
            for child in (procfs.PROC / str(process.pid) / "task" / str(process.pid) / "children").read_text().split():
                os.kill(int(child), 9)
            process.kill()


def test_the_version_is_read_from_the_interpreter_itself() -> None:
    assert python_servers.version(os.getpid()) == ".".join(map(str, sys.version_info[:3]))


def test_a_process_that_is_no_python_has_no_version() -> None:
    with subprocess.Popen(["/usr/bin/sleep", "300"]) as process:
        until("exec", lambda: Path(f"/proc/{process.pid}/exe").readlink().name == "sleep")
        try:
            assert python_servers.version(process.pid) == ""
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("program", "app", "name", "service"),
    [
        ("uvicorn", "orders:app", "uvicorn orders:app", "orders"),
        ("uvicorn", "shop.main:app", "uvicorn shop.main:app", "shop"),
        ("uvicorn", "app.main:app", "uvicorn app.main:app", "uvicorn"),
        ("celery", "", "celery", "celery"),
    ],
)
def test_a_server_is_named_by_what_it_serves(program: str, app: str, name: str, service: str) -> None:
    server = Server(Process(1, "python", 0, 0), program, app)
    assert (server.name, server.service) == (name, service)


@pytest.mark.covers("sec:hostile-host")
def test_an_interpreter_that_is_a_pipe_or_is_cut_short_meanwhile_holds_nobody_up(tmp_path: Path) -> None:
    pipe = tmp_path / "libpython3.99.so"
    os.mkfifo(pipe)
    with pytest.raises(OSError, match="is no file"):
        python_servers._search(pipe, r"3\.99")
    sparse = tmp_path / "sparse"
    sparse.touch()
    os.truncate(sparse, 64 * 1024 * 1024)
    assert python_servers._search(sparse, r"3\.99") == ""
    across = tmp_path / "across"
    across.write_bytes(b"x" * (python_servers.PIECE - 3) + b"\x003.99.1\x00")
    assert python_servers._search(across, r"3\.99") == "3.99.1"
