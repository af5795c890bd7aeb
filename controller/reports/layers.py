"""How deep a check looks: at the host and the network, at a service, or at what users reach."""

from controller.reports.episodes import NO_ANSWER

HOST, SERVICE, SURFACE = 0, 1, 2
NAMES = {HOST: "the host or the network", SERVICE: "a service beneath", SURFACE: "what users reach"}
# By the head of a check's id; all others look at services.
HEADS = {NO_ANSWER: HOST, "HOST-": HOST, "DNS-": HOST, "TLS-": HOST, "HTTP-": SURFACE}
# A container that is unhealthy, or that is started again and again, often only says that its dependency is away.
OWN = {"DOCKER-UNHEALTHY": SURFACE, "DOCKER-RESTART-LOOP": SURFACE}


def layer(identity: str) -> int:
    if identity in OWN:
        return OWN[identity]
    return next((depth for head, depth in HEADS.items() if identity.startswith(head)), SERVICE)
