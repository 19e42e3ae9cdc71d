"""`tallygate verify-proof`: check the proof of one entry with nothing but a public key."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path

import click

from shared.adapters.canonical_json import encode_canonical
from shared.adapters.ecdsa_keys import KeyUnusable
from shared.application.audit.verify_anchors import signed_checkpoint
from shared.cli.command import NoAnswer, print_json
from shared.cli.offline import read_public_keys
from shared.cli.verification import printable
from shared.domain.audit.entry_proof import EntryProof, ProofInvalid, read_proof, verify_proof
from shared.domain.audit.hash_chain import ChainVerifier
from shared.domain.audit.signed_note import NoteInvalid

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command("verify-proof")
@click.option("--proof", "file", type=_FILE, required=True, help="The answer of `GET /me/entries/{rid}/proof`.")
@click.option(
    "--public-key",
    "public_keys",
    type=_FILE,
    multiple=True,
    required=True,
    help="A PEM file with a key of the anchors.",
)
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
def verify_entry_proof(file: Path, public_keys: tuple[Path, ...], *, as_json: bool) -> int:
    """Check that an entry is in the signed log of heads.

    It needs no account, no settings and no secret. Exit status 1 says that the document proves nothing.

    \b
    Example:
      tallygate verify-proof --proof proof.json --public-key audit.pem
    """
    try:
        proof = read_proof(json.loads(file.read_bytes()))
        at = _verify(proof, public_keys)
    except (ValueError, RecursionError) as error:
        if isinstance(error, KeyUnusable):
            raise NoAnswer(str(error)) from error
        _print({"proved": False, "reason": str(error)}, as_json=as_json)
        return 1
    entry = proof.entry
    facts = {"proved": True, "chain": proof.head.chain, "seq": entry["seq"], "kind": entry.get("kind", ""),
             "rid": entry.get("rid", ""),
             "tokens": entry.get("tokens"), "pusd": entry.get("pusd"), "anchored_at": at}  # fmt: skip
    _print(facts, as_json=as_json)
    return 0


def _verify(proof: EntryProof, public_keys: Sequence[Path]) -> str:
    """Return the time of the anchor. Raises `ProofInvalid` and `KeyUnusable`."""
    keys = read_public_keys(public_keys)
    try:
        checkpoint = signed_checkpoint(proof.checkpoint.encode(errors="replace"), "", keys)
    except NoteInvalid as error:
        raise ProofInvalid(f"The checkpoint is not valid: {error}.") from error
    if checkpoint.size != proof.log.size:
        raise ProofInvalid("The checkpoint is of another size than the path.")
    return verify_proof(proof, checkpoint.root, ChainVerifier({}, encode_canonical)).at


def _print(facts: dict[str, object], *, as_json: bool) -> None:
    if as_json:
        print_json(facts)
        return
    for name, fact in facts.items():
        click.echo(f"{name}: {printable(str(fact))}")
