"""The list of certificates that count no more, as the agent reads it: without a file and without a network."""

import base64
import datetime
from dataclasses import replace
from datetime import timedelta

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from hypothesis import given
from hypothesis import strategies as st

from agent import denylist, operators
from agent.denylist import Denylist, DenylistError, OlderList
from tests.agent.front import operator, organisation
from tests.lab.authority import DAY, pem, root

NOW = datetime.datetime(2026, 1, 2, 3, 4, 5, tzinfo=datetime.UTC)
LAB = organisation(NOW)
OTHER = organisation(NOW, "other")
ALICE, BOB = operator(LAB, "admin"), operator(LAB, "observer", "bob")
TRUSTED = (LAB.own.certificate,)


def read(raw: bytes) -> Denylist:
    return denylist.read(raw, TRUSTED)


def test_a_list_of_the_operators_authority_gives_its_number_and_whom_it_names() -> None:
    found = read(LAB.denylist(7, ALICE, BOB, ends=3 * DAY))
    assert (found.number, found.renew_by) == (7, NOW + 3 * DAY)
    assert found.denied.keys() == {ALICE.certificate.serial_number, BOB.certificate.serial_number}
    assert read(LAB.denylist(1)).denied == {}


def test_while_one_authority_takes_over_from_another_either_may_sign_the_list() -> None:
    both = (LAB.own.certificate, OTHER.own.certificate)
    assert denylist.read(OTHER.denylist(8, ALICE), both).number == 8
    assert denylist.read(LAB.denylist(7, ALICE), both).number == 7


@pytest.mark.covers("sec:A10")
@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (OTHER.denylist(9), "is not signed by the operators' authority"),
        (organisation(NOW).denylist(9), "is not signed by the operators' authority"),
        (LAB.denylist(None), "has no number"),
        (LAB.denylist(2**70), "has a number that is out of range"),
        (LAB.denylist(9, more=[(x509.DeltaCRLIndicator(1), True)]), "of a kind that this agent does not know"),
        (pem(LAB.own.certificate), "is no PEM revocation list"),
        (b"", "is no PEM revocation list"),
    ],
    ids=[
        "another authority",
        "the same name, another key",
        "no number",
        "huge number",
        "changes alone",
        "kind",
        "empty",
    ],
)
def test_what_is_no_list_of_the_operators_authority_is_refused(raw: bytes, why: str) -> None:
    with pytest.raises(DenylistError, match=why):
        read(raw)


@pytest.mark.covers("sec:A10")
@pytest.mark.filterwarnings("ignore:Attribute's length")
@given(st.integers(0, 10_000), st.integers(1, 255))
def test_a_list_with_one_byte_changed_is_refused_or_says_the_same(place: int, change: int) -> None:
    """Of a signature's own encoding a few bits do not count."""
    raw = bytearray(x509.load_pem_x509_crl(LAB.denylist(3, ALICE)).public_bytes(Encoding.DER))
    raw[place % len(raw)] ^= change
    try:
        found = read(b"-----BEGIN X509 CRL-----\n" + base64.encodebytes(bytes(raw)) + b"-----END X509 CRL-----\n")
    except DenylistError:
        return
    whole = read(LAB.denylist(3, ALICE))
    assert (found.number, found.denied, found.renew_by) == (whole.number, whole.denied, whole.renew_by)


@given(st.binary(max_size=300))
def test_bytes_that_are_no_list_are_refused(raw: bytes) -> None:
    with pytest.raises(DenylistError):
        read(raw)


@pytest.mark.covers("sec:A10")
def test_a_list_gives_way_to_one_with_a_higher_number_alone() -> None:
    sixth, seventh = read(LAB.denylist(6, ALICE)), read(LAB.denylist(7, ALICE, BOB))
    assert denylist.newer(sixth, None) is sixth
    assert denylist.newer(seventh, sixth) is seventh
    signed_anew = read(LAB.denylist(6, ALICE))
    assert signed_anew != sixth
    assert denylist.newer(signed_anew, sixth) is signed_anew
    with pytest.raises(OlderList, match="has the number 6, and 7 is here already"):
        denylist.newer(sixth, seventh)
    with pytest.raises(OlderList, match="has the number 6 of another list"):
        denylist.newer(read(LAB.denylist(6)), sixth)


@pytest.mark.covers("sec:A10")
def test_a_newer_list_that_lets_somebody_in_whose_certificate_may_not_have_ended_is_refused() -> None:
    """A copy of the authority that did not know of a denial makes such a one, with a higher number."""
    held, stale = read(LAB.denylist(6, ALICE)), LAB.denylist(7, BOB)
    with pytest.raises(OlderList, match="would let in one certificate that 6 denies: log in, then deny and push again"):
        denylist.newer(read(stale), held)
    later = replace(LAB, now=NOW + timedelta(hours=8, minutes=2))
    assert denylist.newer(read(later.denylist(7, BOB)), held).number == 7


@pytest.mark.covers("sec:A10")
def test_each_authority_s_list_stands_beside_the_other_s_with_numbers_of_its_own() -> None:
    second = organisation(NOW)
    both, now_second = (LAB.own.certificate, second.own.certificate), (second.own.certificate,)
    old, new = denylist.read(LAB.denylist(7, ALICE), both), denylist.read(second.denylist(2, BOB), both)
    kept = denylist.merged(denylist.merged({}, old, both), new, both)
    assert {found.number: found.denied for found in kept.values()} == {7: old.denied, 2: new.denied}
    again, problem = denylist.read_kept(b"".join(found.pem for found in kept.values()), both)
    assert (again, problem) == (kept, "")
    assert denylist.number(kept, both) == 2
    assert denylist.number(denylist.merged({}, old, both), both) == 0
    # Once the older one is no authority any more its list goes, and is no fault of the file that still has it.
    assert denylist.merged(kept, new, now_second) == {new.issuer: new}
    assert denylist.read_kept(old.pem + new.pem, now_second) == ({new.issuer: new}, "")
    assert denylist.read_kept(old.pem, now_second) == ({}, denylist.NOT_SIGNED)
    with pytest.raises(OlderList, match="has the number 6, and 7 is here already"):
        denylist.merged(kept, denylist.read(LAB.denylist(6), both), both)


@pytest.mark.covers("sec:A10")
def test_of_a_damaged_file_the_good_lists_count_and_the_damage_is_told() -> None:
    whole = LAB.denylist(7, ALICE)
    kept, problem = denylist.read_kept(whole.replace(b"\nMI", b"\nMA") + LAB.denylist(8), TRUSTED)
    assert ([found.number for found in kept.values()], problem) == ([8], "is no PEM revocation list")


def test_authorities_are_one_organisation_s_each_with_its_name() -> None:
    second = organisation(NOW)
    bundle = pem(LAB.own.certificate) + pem(second.own.certificate)
    assert operators.authorities(bundle) == (LAB.own.certificate, second.own.certificate)
    for raw, why in (
        (b"junk", "is no PEM certificate"),
        (pem(root(NOW).own.certificate), "names no organisation"),
        (bundle + pem(OTHER.own.certificate), "names several organisations: lab, other"),
    ):
        with pytest.raises(operators.AuthorityError, match=why):
            operators.authorities(raw)


def test_only_what_an_authority_signed_itself_is_issued_by_it() -> None:
    below = LAB.subordinate("below")
    ours = operators.identity(LAB.own.certificate)
    assert operators.issuer(ALICE.certificate, TRUSTED) == ours
    assert operators.issuer(ALICE.certificate, (OTHER.own.certificate, LAB.own.certificate)) == ours
    assert not operators.issuer(operator(below, "admin").certificate, TRUSTED)
    assert not operators.issuer(ALICE.certificate, (OTHER.own.certificate,))
    assert not operators.issuer(ALICE.certificate, (organisation(NOW).own.certificate,))
