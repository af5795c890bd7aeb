"""What is said of the files beside the user's configuration, which every command uses that is told no others."""

from controller import settings
from controller.cli.options import Desk


def warn(desk: Desk) -> None:
    """A line for each of them that other settings hide: what was just written would not be used."""
    own = settings.own_folder(desk.environment)
    for name, file in settings.OWN_FILES.items():
        setting = desk.settings[name]
        if setting.origin != "default" and setting.value != str(own / file):
            desk.warn(f"{name} is {setting.value} ({setting.origin}): commands use that, and not {own / file}")
