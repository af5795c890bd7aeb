"""TLS-CLIENT-CERT just under and over each of its limits, and of certificates nobody should have."""

import pytest

from agent.rules.tls import tls_client_cert
from tests.agent.rules.judged import NOW, one, own_certificate, status


@pytest.mark.covers("chk:TLS-CLIENT-CERT")
@pytest.mark.parametrize(
    ("life", "left", "said"),
    [
        (90, 90, "ok"),
        (90, 45.1, "ok"),
        (90, 44.9, "warn"),
        (90, 7.1, "warn"),
        (90, 6.9, "crit"),
        (90, 0.01, "crit"),
        (90, -1, "crit"),
        # Of a short life the last tenth, and not 7 days.
        (10, 5.1, "ok"),
        (10, 4.9, "warn"),
        (10, 1.1, "warn"),
        (10, 0.9, "crit"),
        (365, 8, "warn"),
    ],
)
def test_a_warning_from_half_life_and_critical_in_the_last_days(life: float, left: float, said: str) -> None:
    assert status("TLS-CLIENT-CERT", own_certificate(life, left)) == said


def test_what_is_to_be_done_depends_on_whether_it_can_still_be_renewed_over_itself() -> None:
    assert one("TLS-CLIENT-CERT", own_certificate(90, 10)).next == tls_client_cert.NEXT
    ended = one("TLS-CLIENT-CERT", own_certificate(90, -3))
    assert ended.next == tls_client_cert.NEXT_ENDED
    assert "ended 3d ago" in ended.summary


def test_one_of_tomorrow_is_critical() -> None:
    found = one("TLS-CLIENT-CERT", own_certificate(90, 89), now=NOW - 2 * 86400)
    assert "is not valid for another 24h00m" in found.summary


def test_what_is_no_certificate_is_an_error_and_never_well() -> None:
    made = own_certificate(90, 90)
    made.own_certificate.ClearField("chain")
    assert status("TLS-CLIENT-CERT", made) == "error"
    made.own_certificate.error_class = made.own_certificate.error_text = "missing"
    assert status("TLS-CLIENT-CERT", made) == "error"
