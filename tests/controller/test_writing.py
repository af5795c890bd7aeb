"""Files are whole or not there, and nothing that was there is lost."""

import os
import threading
from pathlib import Path

import pytest

from controller import writing


def names(folder: Path) -> set[str]:
    return {place.name for place in folder.iterdir()}


def test_a_file_that_is_there_is_replaced_whole_and_nothing_else_is_left(tmp_path: Path) -> None:
    place = tmp_path / "a.txt"
    place.write_text("old " * 1000)
    writing.replace(place, "new\n")
    assert place.read_text() == "new\n"
    assert names(tmp_path) == {"a.txt"}


@pytest.mark.parametrize("mask", [0o022, 0o077])
def test_the_mode_is_what_the_umask_leaves(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        writing.replace(tmp_path / "script", "x", mode=0o777)
        writing.create(tmp_path / "text", "x")
    finally:
        os.umask(before)
    assert (tmp_path / "script").stat().st_mode & 0o777 == 0o777 & ~mask
    assert (tmp_path / "text").stat().st_mode & 0o777 == 0o666 & ~mask


def test_a_file_that_is_there_is_not_created_again(tmp_path: Path) -> None:
    place = tmp_path / "a.txt"
    place.write_text("mine")
    with pytest.raises(FileExistsError):
        writing.create(place, "theirs")
    assert place.read_text() == "mine"
    assert names(tmp_path) == {"a.txt"}


def test_of_many_that_create_one_file_at_once_one_does(tmp_path: Path) -> None:
    done: list[str] = []

    def create(text: str) -> None:
        try:
            writing.create(tmp_path / "a.txt", text)
        except FileExistsError:
            return
        done.append(text)

    threads = [threading.Thread(target=create, args=(str(number),)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [(tmp_path / "a.txt").read_text()] == done
    assert names(tmp_path) == {"a.txt"}


def test_a_folder_in_the_place_of_a_file_is_an_error_that_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "a.txt").mkdir()
    with pytest.raises(OSError):
        writing.replace(tmp_path / "a.txt", "x")
    assert names(tmp_path) == {"a.txt"}
