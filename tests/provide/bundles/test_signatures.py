"""Signatures: by keys made on the spot, and by what ``model_signing`` itself once wrote."""

from __future__ import annotations

import base64
import io
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import BestAvailableEncryption, Encoding, NoEncryption
from cryptography.hazmat.primitives.serialization import PrivateFormat as Private
from cryptography.hazmat.primitives.serialization import PublicFormat as Public

from provide.bundles.bundle_files import bundle, checkpoint, contents_of, manifest, url_of
from zooproxy.errors import SettingsError, SignatureRefused
from zooproxy.provide.bundles.manifest import Manifest, manifest_from_bytes
from zooproxy.provide.bundles.reading import BundleReader
from zooproxy.provide.bundles.signatures import SigningKey, TrustedKeys

BODIES = {url_of(number): checkpoint(number) for number in range(3)}
MANIFEST = manifest(contents_of(BODIES))
OTHER = manifest(contents_of({url_of(1): checkpoint(1)}))


def key_pair(folder: Path, name: str = "key", curve: ec.EllipticCurve | None = None) -> tuple[Path, Path]:
    key = ec.generate_private_key(curve or ec.SECP256R1())
    return write(folder, name, key)


def write(folder: Path, name: str, key: ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey) -> tuple[Path, Path]:
    private, public = folder / f"{name}.pem", folder / f"{name}.pub"
    private.write_bytes(key.private_bytes(Encoding.PEM, Private.PKCS8, NoEncryption()))
    public.write_bytes(key.public_key().public_bytes(Encoding.PEM, Public.SubjectPublicKeyInfo))
    return private, public


@pytest.mark.parametrize("curve", [ec.SECP256R1(), ec.SECP384R1(), ec.SECP521R1()], ids=lambda curve: curve.name)
def test_a_signature_is_believed_by_its_key_and_is_the_same_each_time(tmp_path: Path, curve: ec.EllipticCurve) -> None:
    private, public = key_pair(tmp_path, curve=curve)
    signature = SigningKey(private).sign(MANIFEST)
    assert SigningKey(private).sign(MANIFEST) == signature
    TrustedKeys([public]).check(MANIFEST, signature)


def test_one_of_several_keys_will_do(tmp_path: Path) -> None:
    pairs = [key_pair(tmp_path, name) for name in ("a", "b")]
    keys = TrustedKeys([public for _, public in pairs])
    for private, _ in pairs:
        keys.check(MANIFEST, SigningKey(private).sign(MANIFEST))


def test_a_signature_travels_in_the_bundle(tmp_path: Path) -> None:
    private, public = key_pair(tmp_path)
    signature = SigningKey(private).sign(MANIFEST)
    reader = BundleReader(io.BytesIO(bundle(contents_of(BODIES), BODIES.values(), signature)))
    TrustedKeys([public]).check(reader.manifest, reader.signature)


def test_another_key_is_not_believed(tmp_path: Path) -> None:
    private, _ = key_pair(tmp_path, "theirs")
    _, public = key_pair(tmp_path, "ours")
    with pytest.raises(SignatureRefused, match="another key"):
        TrustedKeys([public]).check(MANIFEST, SigningKey(private).sign(MANIFEST))


def test_a_signature_of_another_bundle_is_not_believed(tmp_path: Path) -> None:
    private, public = key_pair(tmp_path)
    with pytest.raises(SignatureRefused, match="of another bundle"):
        TrustedKeys([public]).check(MANIFEST, SigningKey(private).sign(OTHER))


def test_no_signature_is_not_believed(tmp_path: Path) -> None:
    with pytest.raises(SignatureRefused, match="not signed"):
        TrustedKeys([key_pair(tmp_path)[1]]).check(MANIFEST, None)


def changed(change: Callable[[dict[str, Any]], object]) -> Callable[[bytes], bytes]:
    def apply(signature: bytes) -> bytes:
        document = json.loads(signature)
        change(document)
        return json.dumps(document).encode()

    return apply


def with_payload(change: Callable[[dict[str, Any]], object]) -> Callable[[bytes], bytes]:
    def apply(document: dict[str, Any]) -> None:
        payload = json.loads(base64.b64decode(document["dsseEnvelope"]["payload"]))
        change(payload)
        document["dsseEnvelope"]["payload"] = base64.b64encode(json.dumps(payload).encode()).decode()

    return changed(apply)


@pytest.mark.parametrize(
    "forge",
    [
        lambda signature: b"",
        lambda signature: b"null",
        lambda signature: b"[" * 100_000,
        lambda signature: signature[:-1],
        changed(lambda d: d.update(mediaType="application/json")),
        changed(lambda d: d.pop("verificationMaterial")),
        changed(lambda d: d["verificationMaterial"]["publicKey"].update(hint=None)),
        changed(lambda d: d["verificationMaterial"]["publicKey"].update(hint=[])),
        changed(lambda d: d["dsseEnvelope"].update(payloadType="text/plain")),
        changed(lambda d: d["dsseEnvelope"].update(payload="!")),
        changed(lambda d: d["dsseEnvelope"].update(payload="")),
        changed(lambda d: d["dsseEnvelope"].update(signatures=[])),
        changed(lambda d: d["dsseEnvelope"]["signatures"].append(d["dsseEnvelope"]["signatures"][0])),
        changed(lambda d: d["dsseEnvelope"]["signatures"][0].update(sig="")),
        changed(lambda d: d["dsseEnvelope"]["signatures"][0].update(sig=base64.b64encode(bytes(70)).decode())),
        with_payload(lambda p: p.update(predicateType="https://other")),
        with_payload(lambda p: p["predicate"]["resources"].pop()),
        with_payload(lambda p: p["subject"].clear()),
    ],
)
def test_a_signature_with_anything_changed_is_refused(tmp_path: Path, forge: Callable[[bytes], bytes]) -> None:
    private, public = key_pair(tmp_path)
    with pytest.raises(SignatureRefused):
        TrustedKeys([public]).check(MANIFEST, forge(SigningKey(private).sign(MANIFEST)))


@pytest.mark.parametrize(
    "payload", [b"null", b"{", b"[]", b"{}", b'{"_type": "https://in-toto.io/Statement/v1"}', b"[" * 100_000]
)
def test_a_right_signature_of_what_is_no_statement_is_refused(tmp_path: Path, payload: bytes) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    private, public = write(tmp_path, "key", key)
    signed = b"DSSEv1 28 application/vnd.in-toto+json %d %s" % (len(payload), payload)
    document = json.loads(SigningKey(private).sign(MANIFEST))
    envelope = document["dsseEnvelope"]
    envelope["payload"] = base64.b64encode(payload).decode()
    envelope["signatures"][0]["sig"] = base64.b64encode(key.sign(signed, ec.ECDSA(hashes.SHA256()))).decode()
    with pytest.raises(SignatureRefused, match="of another bundle"):
        TrustedKeys([public]).check(MANIFEST, json.dumps(document).encode())


def test_what_is_no_key_is_refused_with_the_way_to_make_one(tmp_path: Path) -> None:
    private, public = key_pair(tmp_path)
    rsa_private, rsa_public = write(tmp_path, "rsa", rsa.generate_private_key(public_exponent=65537, key_size=2048))
    curve_private, curve_public = key_pair(tmp_path, "k1", ec.SECP256K1())
    encrypted = tmp_path / "encrypted.pem"
    key = ec.generate_private_key(ec.SECP256R1())
    encrypted.write_bytes(key.private_bytes(Encoding.PEM, Private.PKCS8, BestAvailableEncryption(b"secret")))
    for path in (public, rsa_private, curve_private, encrypted, tmp_path / "none"):
        with pytest.raises(SettingsError):
            SigningKey(path)
    for path in (private, rsa_public, curve_public, tmp_path / "none"):
        with pytest.raises(SettingsError):
            TrustedKeys([path])


def test_without_the_package_the_way_to_it_is_told_and_unsigned_bundles_need_none(tmp_path: Path) -> None:
    script = """
import sys, pathlib
sys.modules["cryptography"] = None
from zooproxy.provide.bundles.signatures import SigningKey, TrustedKeys
assert not TrustedKeys([])
try:
    SigningKey(pathlib.Path("key"))
except Exception as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert "pip install 'zooproxy[signing]'" in done.stdout


def test_what_model_signing_itself_wrote_is_believed() -> None:
    """The unpacked bundle of ``manifest.json`` was signed with ``model_signing sign key`` 1.1.1."""
    folder = Path(__file__).parents[2] / "data" / "model_signing"
    signed = manifest_from_bytes((folder / "manifest.json").read_bytes())
    keys = TrustedKeys([folder / "key.pub"])
    keys.check(signed, (folder / "manifest.json.sig").read_bytes())
    with pytest.raises(SignatureRefused):
        keys.check(OTHER, (folder / "manifest.json.sig").read_bytes())


def statement(manifest: Manifest, private: Path) -> Any:
    document = json.loads(SigningKey(private).sign(manifest))
    return json.loads(base64.b64decode(document["dsseEnvelope"]["payload"]))


def test_a_statement_lists_every_file_of_the_unpacked_bundle(tmp_path: Path) -> None:
    made = statement(MANIFEST, key_pair(tmp_path)[0])
    names = [resource["name"] for resource in made["predicate"]["resources"]]
    assert names == sorted(names)
    assert len(names) == 1 + len(BODIES)
