"""Signs HTTP requests with http-message-signatures, a library that is not keygate's.

Its first line of output has the public keys that it signs for, by algorithm, as PEM; that of
hmac-sha256 is the shared secret in base64. Then each line of input is a request to sign, and each
line of output the header fields that it has when it is signed.
"""

import base64
import datetime
import json
import sys

from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from http_message_signatures import HTTPMessageSigner, HTTPSignatureKeyResolver, algorithms

SECRET = bytes(range(48))
KEYS = {
    "ed25519": (algorithms.ED25519, ed25519.Ed25519PrivateKey.generate()),
    "ecdsa-p256-sha256": (algorithms.ECDSA_P256_SHA256, ec.generate_private_key(ec.SECP256R1())),
    "ecdsa-p384-sha384": (algorithms.ECDSA_P384_SHA384, ec.generate_private_key(ec.SECP384R1())),
    "rsa-pss-sha512": (algorithms.RSA_PSS_SHA512, rsa.generate_private_key(65537, 2048)),
    "rsa-v1_5-sha256": (algorithms.RSA_V1_5_SHA256, rsa.generate_private_key(65537, 2048)),
    "hmac-sha256": (algorithms.HMAC_SHA256, SECRET),
}


class Resolver(HTTPSignatureKeyResolver):
    """Verification keys are named as the algorithm."""

    def resolve_private_key(self, key_id):
        return KEYS[key_id][1]

    def resolve_public_key(self, key_id):
        raise NotImplementedError("nothing is verified here")


class Request:
    """What the library asks of a request."""

    def __init__(self, told):
        self.method = told["method"]
        self.url = told["url"]
        self.headers = dict(told["headers"])


def public(key):
    if isinstance(key, bytes):
        return base64.b64encode(key).decode()
    pem = serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
    return key.public_key().public_bytes(*pem).decode()


def sign(told):
    request = Request(told)
    body = told.get("body")
    created = datetime.datetime.now() + datetime.timedelta(seconds=told.get("seconds", 0))
    signer = HTTPMessageSigner(
        signature_algorithm=KEYS[told["algorithm"]][0], key_resolver=Resolver()
    )
    signer.sign(
        request,
        key_id=told["algorithm"],
        created=created,
        nonce=told.get("nonce"),
        include_alg=told.get("alg", True),
        covered_component_ids=told["components"],
        body=None if body is None else body.encode(),
    )
    return list(request.headers.items())


def say(line):
    print(json.dumps(line), flush=True)


say({name: public(key) for name, (_, key) in KEYS.items()})
for line in sys.stdin:
    say(sign(json.loads(line)))
