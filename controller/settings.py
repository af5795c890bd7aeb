"""What a command goes by: flags > environment > user's config > system's config > default, each with its origin.

Nothing is read from the working directory: a checkout must not be able to choose certificates or hosts.
"""

import re
import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path

SYSTEM_FILE = Path("/etc/fleetmedic/config.toml")


class SettingError(Exception):
    """A setting that can't be used; one line naming where it stands, the field and the mend."""


@dataclass(frozen=True, slots=True)
class Setting:
    value: str
    origin: str


# Every setting: its kind, its default, and one line about it.
KNOWN: Mapping[str, tuple[str, str, str]] = {
    "inventory": ("paths", "", "inventory files, folders or scripts, or hosts as a,b"),
    "inventory_backend": ("backend", "own", "who reads them: own, or ansible, for what only its plugins read"),
    "certificate": ("path", "", "our client certificate"),
    "key": ("path", "", "its private key"),
    "ca": ("path", "", "the authority of the agents' certificates"),
    "forks": ("count", "32", "connections set up at once"),
    "deadline": ("seconds", "10s", "for the whole command"),
    "host_deadline": ("seconds", "", "for one host, from when its call begins; not set: the whole deadline"),
    "connect_timeout": ("seconds", "1.5s", "for TCP and TLS of one host"),
    "store": ("path", "", "the file of runs and events"),
    "pki": ("path", "", "the folder of the authorities, where certificates are made"),
    "bastion": ("text", "", "where `login` gets a certificate, as USER@HOST:PORT"),
    "bundles": ("path", "", "the folder of what is installed on hosts"),
    "known_hosts": ("paths", "", "files with the SSH keys of hosts"),
    "ssh_user": ("text", "root", "who logs in over SSH where the inventory does not say"),
}
# What `login` and `pki issue operator` write beside the user's config file, and who uses it.
OWN_FILES: Mapping[str, str] = {"certificate": "operator.crt", "key": "operator.key", "ca": "agent-ca.crt"}
BACKENDS = ("own", "ansible")
# Within these an agent answers; it is told a little less.
ANSWERED = ("deadline", "host_deadline")
SHORTEST = 0.2
EMPTY = "is empty, as an unset variable leaves it; write one, or leave it out"
DURATION = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h)?")
UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, None: 1.0}


def resolve(flags: Mapping[str, str], environment: Mapping[str, str], uid: int) -> Mapping[str, Setting]:
    """Every setting as it stands. SettingError for a bad file or value."""
    home = _home(environment)
    own = own_folder(environment)
    own_state = _absolute(environment, "XDG_STATE_HOME")
    state = (own_state or home / ".local/state") / "fleetmedic"
    store = Path("/var/lib/fleetmedic") if uid == 0 and own_state is None else state
    made = {name: Setting(default, "default") for name, (_, default, _) in KNOWN.items()}
    made["store"] = Setting(str(store / "controller.db"), "default")
    made["pki"] = Setting(str(own / "pki"), "default")
    made["bundles"] = Setting(
        str((_absolute(environment, "XDG_CACHE_HOME") or home / ".cache") / "fleetmedic/bundles"), "default"
    )
    made["known_hosts"] = Setting(f"{home / '.ssh/known_hosts'}\n/etc/ssh/ssh_known_hosts", "default")
    for name, own_file in OWN_FILES.items():
        if (own / own_file).exists():
            made[name] = Setting(str(own / own_file), "default")
    for file in (SYSTEM_FILE, own / "config.toml"):
        made |= _from_file(file)
    for name, (kind, _, _) in KNOWN.items():
        variable = f"FLEETMEDIC_{name.upper()}"
        if environment.get(variable):
            value = environment[variable]
            made[name] = Setting(value.replace(":", "\n") if kind == "paths" else value, f"environment {variable}")
        if name in flags:
            made[name] = Setting(flags[name], f"--{name.replace('_', '-')}")
    for name, setting in made.items():
        _check(name, setting)
    return made


def own_folder(environment: Mapping[str, str]) -> Path:
    """The user's folder of configuration, in which OWN_FILES are."""
    return (_absolute(environment, "XDG_CONFIG_HOME") or _home(environment) / ".config") / "fleetmedic"


def _home(environment: Mapping[str, str]) -> Path:
    return _absolute(environment, "HOME") or Path("/nonexistent")


def _absolute(environment: Mapping[str, str], name: str) -> Path | None:
    """None where it is not set, or counts from the working directory."""
    path = Path(environment.get(name, ""))
    return path if path.is_absolute() else None


def _from_file(file: Path) -> Mapping[str, Setting]:
    try:
        text = file.read_text()
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except (OSError, UnicodeDecodeError) as error:
        raise SettingError(f"{file}: can't be read: {getattr(error, 'strerror', None) or 'not UTF-8 text'}") from error
    try:
        values = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        found = re.search(r"\(at line (\d+)", str(error))
        raise SettingError(
            f"{file}:{found[1] if found else 1}: not TOML: {str(error).partition(' (at ')[0]}"
        ) from error
    made = {}
    for name, value in values.items():
        origin = f"{file}:{_line(text, name)}"
        if name not in KNOWN:
            close = get_close_matches(name, KNOWN, n=1)
            mend = f"did you mean {close[0]!r}?" if close else f"known: {', '.join(KNOWN)}"
            raise SettingError(f"{origin}: {name}: is no setting; {mend}")
        made[name] = Setting(_text(name, value, origin, file.parent), origin)
    return made


def _text(name: str, value: object, origin: str, folder: Path) -> str:
    """A file's value as text; its paths count from the file's own folder."""
    kind = KNOWN[name][0]
    if kind == "paths" and isinstance(value, list) and all(isinstance(item, str) for item in value):
        return "\n".join(item and str(folder / Path(item).expanduser()) for item in value)
    if value == "":
        return value
    if kind == "paths" and isinstance(value, str) and "," in value and not (folder / value).exists():
        # Hosts, as on the command line.
        return value
    if kind in ("path", "paths") and isinstance(value, str):
        return str(folder / Path(value).expanduser())
    if kind in ("backend", "text") and isinstance(value, str):
        return value
    if kind == "count" and isinstance(value, int) and not isinstance(value, bool):
        return str(value)
    if kind == "seconds" and isinstance(value, str | int | float) and not isinstance(value, bool):
        return str(value)
    wanted = {
        "paths": "a path or a list of them",
        "path": "a path",
        "backend": "own or ansible",
        "text": "a text",
        "count": "a whole number",
        "seconds": "such as '10s'",
    }
    raise SettingError(f"{origin}: {name}: must be {wanted[kind]}")


def _line(text: str, name: str) -> int:
    for number, line in enumerate(text.splitlines(), 1):
        if re.match(rf"\s*(?:\[\s*)?[\"']?{re.escape(name)}[\"']?\s*(?:=|\])", line):
            return number
    return 1


def _check(name: str, setting: Setting) -> None:
    if not _is_text(setting.value):
        raise SettingError(f"{setting.origin}: {name}: {setting.value!r} is not UTF-8 text: rename the file")
    if setting.origin == "default":
        return
    kind = KNOWN[name][0]
    if not all(setting.value.split("\n")):
        raise SettingError(f"{setting.origin}: {name}: {EMPTY}")
    if kind == "count" and not (re.fullmatch(r"[0-9]{1,5}", setting.value) and 1 <= int(setting.value) <= 10_000):
        raise SettingError(f"{setting.origin}: {name}: {setting.value!r} must be a whole number from 1 to 10000")
    if kind == "backend" and setting.value not in BACKENDS:
        raise SettingError(f"{setting.origin}: {name}: {setting.value!r} is not known: write own or ansible")
    if kind == "seconds":
        try:
            seconds = duration(setting.value)
        except ValueError as error:
            raise SettingError(f"{setting.origin}: {name}: {error}") from error
        if name in ANSWERED and seconds < SHORTEST:
            too_short = f"{setting.value!r} leaves no time for an answer; 200ms is the least"
            raise SettingError(f"{setting.origin}: {name}: {too_short}")


def _is_text(value: str) -> bool:
    """False for an argument with bytes that are no character; it could be neither sent nor kept."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def duration(text: str) -> float:
    """Seconds of 10s, 500ms, 2m, 1h, or a bare number. ValueError says what is wrong."""
    found = DURATION.fullmatch(text.strip())
    if found is None:
        raise ValueError(f"{text!r} is no duration, such as 10s, 500ms or 2m")
    seconds = float(found[1]) * UNITS[found[2]]
    if not 0.05 <= seconds <= 600:
        raise ValueError(f"{text!r} must lie between 50ms and 10m")
    return seconds
