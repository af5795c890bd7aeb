"""What is said of the files beside the user's configuration, which every command uses that is told no others."""

from controller import settings
from controller.cli.options import Desk


def warn(desk: Desk) -> None:
    """A line where other settings hide them: what was just written would not be used."""
    own = settings.own_folder(desk.environment)
    hiding = {
        name: desk.settings[name]
        for name, file in settings.OWN_FILES.items()
        if desk.settings[name].origin != "default" and desk.settings[name].value != str(own / file)
    }
    if hiding:
        told = ", ".join(f"{name} ({setting.origin})" for name, setting in hiding.items())
        desk.warn(f"commands don't use what is in {own}: other settings say where these are: {told}")
