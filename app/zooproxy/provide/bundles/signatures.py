"""``manifest.json.sig``: who made a bundle, in the format of OpenSSF Model Signing v1.0, with keys of one's own.

The file is a sigstore bundle (JSON, ``application/vnd.dev.sigstore.bundle.v0.3+json``)::

    verificationMaterial.publicKey.hint     sha256 of the public key's PEM (SubjectPublicKeyInfo)
    dsseEnvelope.payload                    base64 of an in-toto statement v1 (JSON), below
    dsseEnvelope.payloadType                application/vnd.in-toto+json
    dsseEnvelope.signatures[0].sig          base64 of an ECDSA signature (DER) of the payload, encoded as DSSE says

    subject[0].digest.sha256                sha256 of the digests of all resources, in their order
    predicateType                           https://model_signing/signature/v1.0
    predicate.resources                     name, algorithm, digest: manifest.json and each member, by name
    predicate.serialization                 how ``model_signing`` is to hash the unpacked bundle: file by file

So ``model_signing verify key`` of an unpacked bundle agrees with what is read here. The package itself is not used: it
brings 26 others (sigstore, tuf, requests, … 75 MB), needs 0.7 s and 59 MB to be imported, and hashes a directory tree,
where a bundle's manifest has the digests already. What key mode needs of it is this file, over ``cryptography``.

Keys are PEM files on the curves that the format knows: P-256, P-384 and P-521.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from zooproxy.digest import Sha256
from zooproxy.errors import SettingsError, SignatureRefused
from zooproxy.provide.bundles.layout import MANIFEST, SIGNATURE, blob_name
from zooproxy.provide.bundles.manifest import Manifest

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey, EllipticCurvePublicKey
    from cryptography.hazmat.primitives.hashes import HashAlgorithm

_BUNDLE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"
_PAYLOAD: Final = "application/vnd.in-toto+json"
_STATEMENT: Final = "https://in-toto.io/Statement/v1"
_PREDICATE: Final = "https://model_signing/signature/v1.0"
_CURVES: Final = ("secp256r1", "secp384r1", "secp521r1")


class SigningKey:
    """
    Raises:
        SettingsError: the file is no such key, or the package that signs is not installed.
    """

    def __init__(self, path: Path) -> None:
        self._key = _private_key(path)

    def sign(self, manifest: Manifest) -> bytes:
        """The same bytes for the same manifest (RFC 6979)."""
        from cryptography.hazmat.primitives.asymmetric import ec

        payload = json.dumps(_statement(manifest), separators=(",", ":"), sort_keys=True).encode()
        algorithm = ec.ECDSA(_hash_of(self._key.curve.name), deterministic_signing=True)
        signature = self._key.sign(_encoded(payload), algorithm)
        document = {
            "mediaType": _BUNDLE,
            "verificationMaterial": {"publicKey": {"hint": _hint(self._key.public_key())}, "tlogEntries": []},
            "dsseEnvelope": {
                "payload": base64.b64encode(payload).decode(),
                "payloadType": _PAYLOAD,
                "signatures": [{"sig": base64.b64encode(signature).decode(), "keyid": ""}],
            },
        }
        return json.dumps(document, separators=(",", ":")).encode()


class TrustedKeys:
    """The keys of the makers who are believed.

    Raises:
        SettingsError: as ``SigningKey``.
    """

    def __init__(self, paths: Iterable[Path]) -> None:
        self._keys = {_hint(key): key for key in map(_public_key, paths)}

    def __bool__(self) -> bool:
        return bool(self._keys)

    def check(self, manifest: Manifest, signature: bytes | None) -> None:
        """
        Raises:
            SignatureRefused: there is none, it is not of one of these keys, or it is of something else.
        """
        if signature is None:
            raise SignatureRefused("the bundle is not signed, and a signature is asked for: export it with --sign")
        try:
            document = json.loads(signature)
            media_type, envelope = document["mediaType"], document["dsseEnvelope"]
            hint = document["verificationMaterial"]["publicKey"]["hint"]
            payload = base64.b64decode(envelope["payload"], validate=True)
            [one] = envelope["signatures"]
            signed = base64.b64decode(one["sig"], validate=True)
            known = media_type == _BUNDLE and envelope["payloadType"] == _PAYLOAD
        except (ValueError, KeyError, TypeError, RecursionError) as error:
            raise SignatureRefused("the bundle's signature cannot be read") from error
        key = self._keys.get(hint) if isinstance(hint, str) else None
        if not known or key is None:
            raise SignatureRefused("the bundle is signed with another key than those that are trusted")
        _verify(key, payload, signed)
        if not _agrees(payload, manifest):
            raise SignatureRefused("the signature is right, and of another bundle: this one's manifest was changed")


def _agrees(payload: bytes, manifest: Manifest) -> bool:
    """Whether a statement says the same as ours; who made it may have spelt it otherwise."""
    ours = _statement(manifest)
    try:
        statement = json.loads(payload)
        same = all(statement[name] == ours[name] for name in ("_type", "predicateType"))
        [subject] = statement["subject"]
        resources = statement["predicate"]["resources"]
    except (ValueError, KeyError, TypeError, RecursionError):
        return False
    return bool(
        same and subject["digest"] == ours["subject"][0]["digest"] and resources == ours["predicate"]["resources"]
    )


def _statement(manifest: Manifest) -> dict[str, Any]:
    digests = {blob_name(member.sha256): member.sha256 for member in manifest.contents.members}
    digests[MANIFEST] = Sha256.of(manifest.to_bytes())
    resources = [{"name": name, "algorithm": "sha256", "digest": digests[name]} for name in sorted(digests)]
    root = hashlib.sha256(b"".join(bytes.fromhex(digests[name]) for name in sorted(digests))).hexdigest()
    return {
        "_type": _STATEMENT,
        "subject": [{"name": f"zooproxy bundle {manifest.part.whole}", "digest": {"sha256": root}}],
        "predicateType": _PREDICATE,
        "predicate": {"resources": resources, "serialization": _SERIALIZATION},
    }


_SERIALIZATION: Final[Mapping[str, Any]] = {
    "method": "files",
    "hash_type": "sha256",
    "allow_symlinks": False,
    "ignore_paths": [SIGNATURE],
}


def _encoded(payload: bytes) -> bytes:
    """DSSE's pre-authentication encoding (https://github.com/secure-systems-lab/dsse, protocol.md, v1)."""
    return b"DSSEv1 %d %s %d %s" % (len(_PAYLOAD), _PAYLOAD.encode(), len(payload), payload)


def _verify(key: EllipticCurvePublicKey, payload: bytes, signature: bytes) -> None:
    from cryptography.exceptions import InvalidSignature
    from cryptography.hazmat.primitives.asymmetric import ec

    try:
        key.verify(signature, _encoded(payload), ec.ECDSA(_hash_of(key.curve.name)))
    except InvalidSignature as error:
        raise SignatureRefused("the bundle's signature is wrong: the bundle was changed after it was signed") from error


def _private_key(path: Path) -> EllipticCurvePrivateKey:
    _check_installed()
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    try:
        key = load_pem_private_key(_read(path), password=None)
    except (ValueError, TypeError) as error:
        raise SettingsError(f"{path} is no private key in PEM, or is encrypted; {_WAY_OUT}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or key.curve.name not in _CURVES:
        raise SettingsError(f"{path} is no key on the curve P-256, P-384 or P-521; {_WAY_OUT}")
    return key


def _public_key(path: Path) -> EllipticCurvePublicKey:
    _check_installed()
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.serialization import load_pem_public_key

    try:
        key = load_pem_public_key(_read(path))
    except (ValueError, TypeError) as error:
        raise SettingsError(f"{path} is no public key in PEM: openssl ec -in KEY -pubout -out PUBKEY") from error
    if not isinstance(key, ec.EllipticCurvePublicKey) or key.curve.name not in _CURVES:
        raise SettingsError(f"{path} is no key on the curve P-256, P-384 or P-521; {_WAY_OUT}")
    return key


_WAY_OUT: Final = "make one with: openssl ecparam -name prime256v1 -genkey -noout -out KEY"


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise SettingsError(f"the key {path} cannot be read: {error.strerror}") from error


def _check_installed() -> None:
    try:
        import cryptography  # noqa: F401
    except ModuleNotFoundError as error:
        raise SettingsError("signatures need one more package: pip install 'zooproxy[signing]'") from error


def _hash_of(curve: str) -> HashAlgorithm:
    """The format's rule: as many bits as the curve has, 512 for P-521."""
    from cryptography.hazmat.primitives import hashes

    algorithms: Sequence[HashAlgorithm] = (hashes.SHA256(), hashes.SHA384(), hashes.SHA512())
    return algorithms[_CURVES.index(curve)]


def _hint(key: EllipticCurvePublicKey) -> str:
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    return hashlib.sha256(key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)).hexdigest()
