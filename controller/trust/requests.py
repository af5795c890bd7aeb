"""Requests for a certificate: made here without a name, and of one that comes the key alone is taken."""

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from controller.trust.files import TrustError

# One of ours has 400 bytes.
LARGEST = 16 * 1024


def made(key: ec.EllipticCurvePrivateKey) -> bytes:
    """PEM; who it is for is the signer's to know."""
    request = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    return request.public_bytes(serialization.Encoding.PEM)


def key(request: bytes) -> ec.EllipticCurvePublicKey:
    """The P-256 key that a request in PEM was signed with; all else it asks for is not looked at.

    TrustError where it is too large, is none, has another kind of key, or its sender does not hold the key.
    """
    if len(request) > LARGEST:
        raise TrustError(f"the request for a certificate has more than {LARGEST} bytes: that is none of ours")
    try:
        read = x509.load_pem_x509_csr(request)
        public = read.public_key()
        if not isinstance(public, ec.EllipticCurvePublicKey) or not isinstance(public.curve, ec.SECP256R1):
            raise TrustError("the request for a certificate is for a key that is not of the curve P-256: make one anew")
        held = read.is_signature_valid
    except (ValueError, TypeError, UnsupportedAlgorithm, x509.InvalidVersion) as error:
        raise TrustError("what came is no request for a certificate in PEM (a PKCS #10 CSR)") from error
    if not held:
        raise TrustError("the request for a certificate is not signed with its own key: its sender may not hold it")
    return public
