"""Signed notes, checkpoints and proofs as texts: the specifications' examples, and forgeries."""

import base64

import pytest

from projections.log.checkpoints import parse_checkpoint, sign_checkpoint
from projections.log.merkle import Frontier, leaf_hash, node_hash
from projections.log.notes import (
    COSIGNATURE,
    BadNote,
    Note,
    Signature,
    Signer,
    Verifier,
    encode_base64,
    parse_note,
    parse_vkey,
)
from projections.log.proofs import BadProof, InclusionProof, parse_proof

VKEY = "example.com/foo+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k"
NOTE = (
    "This is an example message.\n\n— example.com/foo Uw2QOkn8srV1yJGh2VYRlL1Tnagv1YEq6TfXppzi2"
    "ONncAlTgK7Ztg1ERYNZXsYjOBH3mFXmRKuwHjG1Yu72IneyaQM=\n"
)
LOG = Signer("log.example/1", b"1" * 32)
OTHER = Signer("log.example/1", b"2" * 32)
ELSEWHERE = Signer("elsewhere.example", b"3" * 32)
ROOT = leaf_hash(b"one")


def test_the_specifications_example_is_read_and_verified() -> None:
    verifier = parse_vkey(VKEY)
    note = parse_note(NOTE)

    assert verifier.vkey == VKEY
    assert str(note) == NOTE
    assert note.verify([verifier]) == [verifier]
    assert parse_note(NOTE.encode()) == note


def test_a_changed_note_is_refused() -> None:
    with pytest.raises(BadNote, match="is wrong"):
        parse_note(NOTE.replace("example message", "other message")).verify([parse_vkey(VKEY)])


@pytest.mark.parametrize(
    "broken",
    [
        "",
        "text\n",
        "text\n\n",
        "text\n— a AAAAAAA=\n",
        NOTE[:-1],
        NOTE + "\n",
        NOTE + "more\n",
        NOTE.replace("— ", "- "),
        NOTE.replace("— example.com/foo ", "—  "),
        NOTE.replace("— example.com/foo ", "— example.com+foo "),
        NOTE.replace("— example.com/foo ", "— example.com\u2003foo "),
        NOTE.replace("=\n", "\n"),
        NOTE.replace("aQM=\n", "aQN=\n"),
        NOTE.replace("Uw2Q", "Uw2 Q"),
        NOTE.replace("Uw2Q", "Uw2_"),
        NOTE.replace("\n", "\r\n"),
        NOTE.replace("example message", "example\tmessage"),
        NOTE.replace("example message", "example\0message"),
        "text\n\n— a AAAA\n",
        "text\n\n— a AAAAAA==\n",
        "text\n\n" + "— a AAAAAAAA\n" * 65,
        "text\ud800\n\n— a AAAAAAAA\n",
        b"\xff\n\n\xe2\x80\x94 a AAAAAAAA\n",
        "x" * 1_000_001,
    ],
)
def test_what_is_not_written_as_a_note_is_refused(broken: str | bytes) -> None:
    with pytest.raises(BadNote):
        parse_note(broken)


@pytest.mark.parametrize(
    "broken",
    [
        "",
        "name",
        "name+00000000+",
        "name+00000000",
        VKEY.replace("530d903a", "530d903b"),
        VKEY.replace("530d903a", "530D903A"),
        VKEY.replace("example", "other"),
        VKEY.replace("+Aeky", "+Aekz"),
        VKEY[:-1],
        VKEY + "+",
        VKEY + "\n",
        "+530d903a+AekyeRrm56hApGFkyQR4ZCbV54Id2LKaANYcrnKv3U2k",
        Verifier("name", b"k" * 32, 2).vkey,
    ],
)
def test_what_is_not_a_verifier_key_is_refused(broken: str) -> None:
    with pytest.raises(BadNote):
        parse_vkey(broken)


def test_signatures_of_unknown_keys_are_ignored_and_do_not_suffice() -> None:
    both = sign_checkpoint("log.example/1", 1, ROOT, [LOG, OTHER])

    assert both.verify([LOG.verifier]) == [LOG.verifier]
    assert both.verify([OTHER.verifier, LOG.verifier]) == [LOG.verifier, OTHER.verifier]
    with pytest.raises(BadNote, match="No known key"):
        both.verify([ELSEWHERE.verifier])
    with pytest.raises(BadNote, match="No known key"):
        both.verify([])


def test_one_wrong_signature_of_a_known_key_spoils_the_good_ones() -> None:
    good = sign_checkpoint("log.example/1", 1, ROOT, [LOG])
    forged = Signature(OTHER.verifier.name, OTHER.verifier.key_id, b"x" * 64)
    note = Note(good.note.text, (*good.note.signatures, forged))

    assert parse_checkpoint(str(note)).verify([LOG.verifier])
    with pytest.raises(BadNote, match="is wrong"):
        parse_checkpoint(str(note)).verify([LOG.verifier, OTHER.verifier])


def test_a_key_of_another_name_cannot_sign_for_the_log() -> None:
    signed = sign_checkpoint("log.example/1", 1, ROOT, [ELSEWHERE])

    with pytest.raises(BadNote, match="No known key"):
        signed.verify([ELSEWHERE.verifier])


@pytest.mark.parametrize("length", [0, 63, 65])
def test_a_signature_of_the_wrong_length_is_refused(length: int) -> None:
    good = sign_checkpoint("log.example/1", 1, ROOT, [LOG])
    signature = good.note.signatures[0].signature
    wrong = Signature(LOG.verifier.name, LOG.verifier.key_id, (signature + b"x")[:length])

    with pytest.raises(BadNote):
        parse_note(str(Note(good.note.text, (wrong,)))).verify([LOG.verifier])


def test_a_cosignature_covers_its_time() -> None:
    witness = Signer("witness.example/w1", b"w" * 32)
    verifier = Verifier(witness.verifier.name, witness.verifier.public_key, COSIGNATURE)
    text = sign_checkpoint("log.example/1", 1, ROOT, [LOG]).note.text
    signed = witness.sign(f"cosignature/v1\ntime 1679315147\n{text}").signature
    time = (1679315147).to_bytes(8, "big")

    assert parse_vkey(verifier.vkey) == verifier
    assert verifier.accepts(text, time + signed)
    assert not verifier.accepts(text, (1679315148).to_bytes(8, "big") + signed)
    assert not witness.verifier.accepts(text, signed)


# --- Checkpoints ----------------------------------------------------------------------------


def test_a_checkpoint_is_read_as_it_was_written() -> None:
    signed = sign_checkpoint("log.example/1", 20852163, ROOT, [LOG])

    assert str(signed.note).startswith(f"log.example/1\n20852163\n{encode_base64(ROOT)}\n\n— ")
    assert parse_checkpoint(str(signed.note)) == signed


@pytest.mark.parametrize(
    "text",
    [
        "origin\n1\n",
        f"\n1\n{encode_base64(ROOT)}\n",
        f"origin\n01\n{encode_base64(ROOT)}\n",
        f"origin\n+1\n{encode_base64(ROOT)}\n",
        f"origin\n-1\n{encode_base64(ROOT)}\n",
        f"origin\n1 \n{encode_base64(ROOT)}\n",
        f"origin\n١\n{encode_base64(ROOT)}\n",
        f"origin\n\n{encode_base64(ROOT)}\n",
        f"origin\n{2**63}\n{encode_base64(ROOT)}\n",
        f"origin\n1\n{encode_base64(ROOT[:-1])}\n",
        f"origin\n1\n{encode_base64(ROOT)[:-1]}\n",
        f"origin\n1\n{ROOT.hex()}\n",
        f"origin\n1\n{encode_base64(ROOT)}\n\nmore\n",
    ],
)
def test_a_signed_text_that_is_no_checkpoint_is_refused(text: str) -> None:
    note = Note(text, (LOG.sign(text),))

    with pytest.raises(BadNote):
        parse_checkpoint(str(note))


# --- Proofs ---------------------------------------------------------------------------------

ENTRIES = [b"zero", b"one", b"two"]


def proof() -> InclusionProof:
    frontier = Frontier()
    for one in ENTRIES:
        frontier.append(leaf_hash(one))
    checkpoint = sign_checkpoint("log.example/1", 3, frontier.root(), [LOG])
    return InclusionProof(1, (leaf_hash(b"zero"), leaf_hash(b"two")), checkpoint)


def test_a_proof_is_read_as_it_was_written_and_verified() -> None:
    text = str(proof())

    assert text.startswith("c2sp.org/tlog-proof@v1\nindex 1\n")
    assert parse_proof(text) == proof()
    parse_proof(text).verify(b"one", [LOG.verifier])
    with_extra = text.replace("\nindex", "\nextra AAAA\nindex")
    parse_proof(with_extra).verify(b"one", [LOG.verifier])


def test_the_proof_of_a_lone_leaf_has_no_hashes() -> None:
    checkpoint = sign_checkpoint("log.example/1", 1, leaf_hash(b"zero"), [LOG])
    alone = InclusionProof(0, (), checkpoint)

    assert parse_proof(str(alone)) == alone
    alone.verify(b"zero", [LOG.verifier])


def test_a_proof_of_something_else_is_refused() -> None:
    with pytest.raises(BadProof, match="not at index 1"):
        proof().verify(b"zero", [LOG.verifier])
    with pytest.raises(BadNote, match="No known key"):
        proof().verify(b"one", [OTHER.verifier])
    inner = node_hash(leaf_hash(b"zero"), leaf_hash(b"one"))
    with pytest.raises(BadProof):
        InclusionProof(0, (leaf_hash(b"two"),), proof().checkpoint).verify(inner, [LOG.verifier])


@pytest.mark.parametrize(
    ("found", "put"),
    [
        ("c2sp.org/tlog-proof@v1", "c2sp.org/tlog-proof@v2"),
        ("c2sp.org/tlog-proof@v1\n", ""),
        ("index 1", "index 01"),
        ("index 1", "index -1"),
        ("index 1", "index  1"),
        ("index 1", f"index {2**63}"),
        ("index 1\n", ""),
        ("index 1", "index 1\nindex 1"),
        ("index 1", "index 1\nextra AAAA"),
        ("index 1", "extra *\nindex 1"),
        ("index 1", f"index 1\n{base64.b64encode(b'short').decode()}"),
        ("index 1", "index 1\n" + f"{encode_base64(ROOT)}\n" * 62),
        ("\n\nlog.example", "\nlog.example"),
        ("\n\nlog.example", "\n\n\nlog.example"),
        ("\n", "\r\n"),
    ],
)
def test_what_is_not_written_as_a_proof_is_refused(found: str, put: str) -> None:
    text = str(proof())
    assert found in text

    with pytest.raises(BadNote):
        parse_proof(text.replace(found, put))


@pytest.mark.parametrize(
    ("found", "put"),
    [
        ("index 1", "index 0"),
        ("index 1", "index 2"),
        ("index 1", "index 3"),
        ("\n3\n", "\n4\n"),
        ("\n3\n", "\n2\n"),
        ("log.example/1\n3", "log.example/2\n3"),
        (encode_base64(leaf_hash(b"two")), encode_base64(leaf_hash(b"too"))),
        (encode_base64(leaf_hash(b"two")) + "\n", ""),
        ("index 1\n", f"index 1\n{encode_base64(leaf_hash(b'two'))}\n"),
    ],
)
def test_a_changed_proof_does_not_hold(found: str, put: str) -> None:
    text = str(proof())
    assert found in text

    with pytest.raises(BadNote):
        parse_proof(text.replace(found, put)).verify(b"one", [LOG.verifier])
