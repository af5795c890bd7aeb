"""The settings: which value wins, where it comes from, and one clear line for each that is wrong."""

import os
from pathlib import Path

import pytest

from controller import settings
from controller.settings import Setting, SettingError, duration, resolve
from tests.lab.agents import Desk

USER = 1000


def home(folder: Path, text: str | bytes) -> dict[str, str]:
    """Give an environment whose user has this config."""
    file = folder / ".config" / "fleetmedic" / "config.toml"
    file.parent.mkdir(parents=True)
    file.write_bytes(text.encode() if isinstance(text, str) else text)
    return {"HOME": str(folder)}


def config(folder: Path) -> str:
    return str(folder / ".config/fleetmedic/config.toml")


@pytest.mark.covers("exp:R16", "exp:R17")
def test_a_flag_beats_the_environment_beats_the_users_file_beats_the_default(tmp_path: Path) -> None:
    environment = home(tmp_path, "forks = 7\n\ndeadline = '20s'\nconnect_timeout = 2\n")
    environment |= {"FLEETMEDIC_FORKS": "8", "FLEETMEDIC_DEADLINE": "30s"}
    made = resolve({"forks": "9"}, environment, USER)
    assert made["forks"] == Setting("9", "--forks")
    assert made["deadline"] == Setting("30s", "environment FLEETMEDIC_DEADLINE")
    assert made["connect_timeout"] == Setting("2", f"{config(tmp_path)}:4")
    assert made["certificate"] == Setting("", "default")
    assert resolve({}, {}, USER)["forks"] == Setting("32", "default")


def test_an_empty_variable_counts_as_not_set(tmp_path: Path) -> None:
    assert resolve({}, {"FLEETMEDIC_FORKS": "", "HOME": str(tmp_path)}, USER)["forks"].origin == "default"


def test_xdg_config_home_is_where_the_users_file_is(tmp_path: Path) -> None:
    home(tmp_path, "forks = 7\n")
    other = tmp_path / "xdg"
    (other / "fleetmedic").mkdir(parents=True)
    (other / "fleetmedic" / "config.toml").write_text("forks = 6\n")
    made = resolve({}, {"HOME": str(tmp_path), "XDG_CONFIG_HOME": str(other)}, USER)
    assert made["forks"] == Setting("6", f"{other}/fleetmedic/config.toml:1")


@pytest.mark.parametrize(
    ("environment", "uid", "store"),
    [
        ({"HOME": "/home/a"}, USER, "/home/a/.local/state/fleetmedic/controller.db"),
        ({"HOME": "/home/a", "XDG_STATE_HOME": "/s"}, USER, "/s/fleetmedic/controller.db"),
        ({"HOME": "/root"}, 0, "/var/lib/fleetmedic/controller.db"),
        ({"HOME": "/root", "XDG_STATE_HOME": "/s"}, 0, "/s/fleetmedic/controller.db"),
        ({"HOME": "/home/a", "XDG_STATE_HOME": "s"}, USER, "/home/a/.local/state/fleetmedic/controller.db"),
    ],
)
def test_the_store_is_under_the_users_state_and_roots_under_var(
    environment: dict[str, str], uid: int, store: str
) -> None:
    assert resolve({}, environment, uid)["store"].value == store


def test_paths_of_a_file_count_from_its_folder_and_a_tilde_is_home(tmp_path: Path) -> None:
    environment = home(tmp_path, "inventory = ['a.ini', '/b.yml']\nkey = 'k.pem'\n")
    made = resolve({}, environment, USER)
    folder = tmp_path / ".config" / "fleetmedic"
    assert made["inventory"].value == f"{folder}/a.ini\n/b.yml"
    assert made["key"].value == f"{folder}/k.pem"


def test_hosts_may_stand_in_the_place_of_an_inventory_file(tmp_path: Path) -> None:
    made = resolve({}, home(tmp_path, 'inventory = "web01,web02"\n'), USER)
    assert made["inventory"].value == "web01,web02"


def test_an_inventory_variable_holds_several_with_colons() -> None:
    assert resolve({}, {"FLEETMEDIC_INVENTORY": "/a.ini:/b.yml"}, USER)["inventory"].value == "/a.ini\n/b.yml"


BAD_FILES = [
    ("forks = 0\n", "1: forks: '0' must be a whole number from 1 to 10000"),
    ("\n\nforks = 10001\n", "3: forks: '10001' must be a whole number from 1 to 10000"),
    ("forks = '8'\n", "1: forks: must be a whole number"),
    ("forks = true\n", "1: forks: must be a whole number"),
    ("forks = 1.5\n", "1: forks: must be a whole number"),
    ("deadline = 'soon'\n", "1: deadline: 'soon' is no duration, such as 10s, 500ms or 2m"),
    ("deadline = 601\n", "1: deadline: '601' must lie between 50ms and 10m"),
    ("deadline = []\n", "1: deadline: must be such as '10s'"),
    ("key = 5\n", "1: key: must be a path"),
    ("# a\ninventory = [5]\n", "2: inventory: must be a path or a list of them"),
    ("\nfork = 5\n", "2: fork: is no setting; did you mean 'forks'?"),
    (
        "zzz = 5\n",
        "1: zzz: is no setting; known: "
        "inventory, inventory_backend, certificate, key, ca, forks, deadline, host_deadline, connect_timeout, store, "
        "pki, bastion, bundles, known_hosts, ssh_user",
    ),
    ("inventory = ''\n", f"1: inventory: {settings.EMPTY}"),
    ("inventory = ['a.ini', '']\n", f"1: inventory: {settings.EMPTY}"),
    ("store = ''\n", f"1: store: {settings.EMPTY}"),
    ("host_deadline = '150ms'\n", "1: host_deadline: '150ms' leaves no time for an answer; 200ms is the least"),
    ("[deadline]\nx = 1\n", "1: deadline: must be such as '10s'"),
    ("forks = 1\nforks = 2\n", "2: not TOML: Cannot overwrite a value"),
    ("forks = \n", "1: not TOML: Invalid value"),
]  # fmt: skip


@pytest.mark.parametrize(("text", "said"), BAD_FILES)
def test_a_bad_file_gets_file_line_field_and_mend(text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(SettingError) as refusal:
        resolve({}, home(tmp_path, text), USER)
    assert str(refusal.value) == f"{config(tmp_path)}:{said}"


def test_a_file_that_is_no_text_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(SettingError, match=r"config\.toml: can't be read: not UTF-8 text"):
        resolve({}, home(tmp_path, b"forks = 1 # \xff\n"), USER)


def test_a_folder_in_the_files_place_is_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / ".config/fleetmedic/config.toml").mkdir(parents=True)
    with pytest.raises(SettingError, match=r"config\.toml: can't be read: Is a directory"):
        resolve({}, {"HOME": str(tmp_path)}, USER)


@pytest.mark.parametrize("value", ["0", "-1", "1.5", "many", "10001", "²", "0x10"])
def test_a_bad_count_names_where_it_was_given(value: str) -> None:
    with pytest.raises(SettingError) as refusal:
        resolve({"forks": value}, {}, USER)
    assert str(refusal.value) == f"--forks: forks: {value!r} must be a whole number from 1 to 10000"
    with pytest.raises(SettingError, match="environment FLEETMEDIC_FORKS: forks: "):
        resolve({}, {"FLEETMEDIC_FORKS": value}, USER)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("10s", 10.0),
        ("500ms", 0.5),
        ("2m", 120.0),
        ("0.1h", 360.0),
        ("1.5", 1.5),
        (" 3s ", 3.0),
        ("50ms", 0.05),
        ("600", 600.0),
        ("10m", 600.0),
    ],
)
def test_a_duration_is_seconds(text: str, seconds: float) -> None:
    assert duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize("text", ["", "s", "-1s", "1d", "1e3", "ten", "1 s", "1m30s", ".5s", "1s\n2s", "inf", "nan"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is no duration, such as 10s, 500ms or 2m"):
        duration(text)


@pytest.mark.parametrize("text", ["0", "49ms", "601s", "11m", "1h", "9" * 400])
def test_a_duration_beyond_reason_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="must lie between 50ms and 10m"):
        duration(text)


@pytest.mark.covers("exp:R16")
def test_nothing_comes_from_the_working_directory(tmp_path: Path) -> None:
    desk = Desk(tmp_path / "checkout")
    (desk.folder / "fleetmedic").mkdir(parents=True)
    for trap in ("config.toml", "fleetmedic.toml", "fleetmedic/config.toml", ".fleetmedic.toml"):
        (desk.folder / trap).write_text("forks = 3\n")
    elsewhere = {"HOME": str(tmp_path / "nobody"), "XDG_CONFIG_HOME": "."}
    shown = desk.run("config", "show", "--origin", environment=elsewhere)
    assert shown.code == 0
    assert "forks = 32   (default)\n" in shown.out


@pytest.mark.covers("exp:R17")
def test_the_command_shows_every_setting_with_its_origin(tmp_path: Path) -> None:
    environment = home(tmp_path, "forks = 7\n\nca = 'ca.crt'\n")
    shown = Desk(tmp_path).run("config", "show", "--origin", environment={**environment, "FLEETMEDIC_DEADLINE": "30s"})
    assert (shown.code, shown.err) == (0, "")
    lines = shown.out.splitlines()
    assert f"forks = 7   ({config(tmp_path)}:1)" in lines
    assert "deadline = 30s   (environment FLEETMEDIC_DEADLINE)" in lines
    assert "connect_timeout = 1.5s   (default)" in lines
    assert "inventory = not set: inventory files, folders or scripts, or hosts as a,b   (default)" in lines
    assert f"key = {Desk(tmp_path).environment['FLEETMEDIC_KEY']}   (environment FLEETMEDIC_KEY)" in lines
    assert [line.split(" = ")[0] for line in lines] == list(settings.KNOWN)


def test_the_command_ends_with_65_and_one_line_for_a_bad_file(tmp_path: Path) -> None:
    shown = Desk(tmp_path).run("config", "show", environment=home(tmp_path, "\nfork = 5\n"))
    assert (shown.code, shown.out) == (65, "")
    assert shown.err == f"fleetmedic: {config(tmp_path)}:2: fork: is no setting; did you mean 'forks'?\n"


def test_a_file_without_the_right_to_read_it_is_refused_by_name(tmp_path: Path) -> None:
    environment = home(tmp_path, "forks = 7\n")
    Path(config(tmp_path)).chmod(0)
    if os.geteuid() == 0:
        assert resolve({}, environment, USER)["forks"].value == "7"
        return
    with pytest.raises(SettingError, match=r"config\.toml: can't be read: Permission denied"):
        resolve({}, environment, USER)
