"""Writes editions of a release repository with python-tuf, each a folder with metadata/ and targets/ as a server has them.

A client that has seen edition 2 is given the others; the file initial-root.json is what it is enrolled with.
"""

import sys
from datetime import datetime, timedelta, timezone
from pathlib import Path

from securesystemslib.signer import CryptoSigner
from tuf.api.metadata import (
    DelegatedRole,
    Delegations,
    Metadata,
    MetaFile,
    Root,
    Snapshot,
    TargetFile,
    Targets,
    Timestamp,
)
from tuf.api.serialization.json import JSONSerializer

OUT = Path(sys.argv[1])
NOW = datetime.now(timezone.utc).replace(microsecond=0)
LATER = NOW + timedelta(days=30)
PATH = "models/pump/manifest.json"
SERIALIZER = JSONSerializer(compact=False)

roots = [CryptoSigner.generate_ed25519() for _ in range(3)]
signers = {name: CryptoSigner.generate_ed25519() for name in ("targets", "snapshot", "timestamp", "models")}


def root_metadata(version: int) -> Metadata[Root]:
    root = Root(version=version, expires=LATER, consistent_snapshot=True)
    for signer in roots:
        root.add_key(signer.public_key, "root")
    root.roles["root"].threshold = 2
    for name in ("targets", "snapshot", "timestamp"):
        root.add_key(signers[name].public_key, name)
    return Metadata(root)


def signed(metadata: Metadata, *by: CryptoSigner) -> bytes:
    for signer in by:
        metadata.sign(signer, append=True)
    return metadata.to_bytes(SERIALIZER)


def write(folder: Path, name: str, content: bytes) -> None:
    file = folder / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(content)


def edition(name: str, version: int, *, root: bytes | None = None, expires: datetime = LATER, spoil: bool = False) -> None:
    """One edition whose every role has this version; the target stands below a delegated role."""
    folder = OUT / name
    content = f"content {version}".encode()
    target = TargetFile.from_data(PATH, content, ["sha256"])
    target.unrecognized_fields["custom"] = {"releaseCounter": version}
    models = Targets(version=version, expires=LATER, targets={PATH: target})
    targets = Targets(version=version, expires=LATER)
    role = DelegatedRole("models", [], 1, terminating=True, paths=["models/*/manifest.json"])
    targets.delegations = Delegations({}, {"models": role})
    targets.add_key(signers["models"].public_key, "models")
    snapshot = Snapshot(version=version, expires=LATER)
    snapshot.meta = {"targets.json": MetaFile(version), "models.json": MetaFile(version)}
    timestamp = Timestamp(version=version, expires=expires, snapshot_meta=MetaFile(version))
    for kind, body in (("models", models), ("targets", targets), ("snapshot", snapshot)):
        write(folder, f"metadata/{version}.{kind}.json", signed(Metadata(body), signers[kind]))
    write(folder, "metadata/timestamp.json", signed(Metadata(timestamp), signers["timestamp"]))
    if root is not None:
        write(folder, f"metadata/{version}.root.json", root)
    served = b"X" + content[1:] if spoil else content
    write(folder, f"targets/models/pump/{target.hashes['sha256']}.manifest.json", served)


write(OUT, "initial-root.json", signed(root_metadata(1), *roots[:2]))
edition("1", 1)
edition("2", 2, root=signed(root_metadata(2), *roots[1:]))
edition("rollback", 1)
edition("expired", 3, expires=NOW - timedelta(hours=1))
edition("threshold", 3, root=signed(root_metadata(3), roots[0]))
edition("tampered", 3, spoil=True)
edition("3", 3, root=signed(root_metadata(3), *roots[:2]))
signers["timestamp"] = CryptoSigner.generate_ed25519()
edition("thief", 4)
