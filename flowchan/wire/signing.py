"""Signatures: HMAC-SHA256 over what an entry says and where it stands, by keys that two sides share.

What is signed is a sequence of parts, behind their number and their lengths, so that no two sequences have the same
bytes. The first says what the signature is for, the second which key it is by, the third the place.
"""

from __future__ import annotations

import functools
import hmac
import re
import struct
from collections.abc import Iterable, Mapping, Sequence

from flowchan.errors import SignatureError

FIELD = b"sig"
"""The field of an entry that holds its signature, before the body."""

_MESSAGE, _ANSWER, _REQUEST, _RESULT, _DEPLOYMENT = (
    b"flowchan message", b"flowchan answer", b"flowchan request", b"flowchan result", b"flowchan deployment",
)  # fmt: skip
_UNSIGNED = "It is not signed, and FLOWCHAN_SIGNING_KEYS is set."
_is_key_id = re.compile(rb"[A-Za-z0-9_.-]{1,64}").fullmatch


class Keyring:
    """The keys of one side: the first signs, all verify, so that a key can be replaced while both are in use.

    Guarantees: what passes was signed by somebody who has one of the keys, for this very place, and not a byte of it
    was changed, added or taken away. No secret is in its repr or in an error.
    """

    __slots__ = ("_first", "_keys")

    def __init__(self, pairs: Iterable[tuple[str, bytes]]) -> None:
        self._keys = {name.encode(): secret for name, secret in pairs}
        self._first = next(iter(self._keys))

    @classmethod
    def of(cls, pairs: tuple[tuple[str, bytes], ...]) -> Keyring | None:
        """The keyring of the keys, each an ID and a secret, the same one each time; None where there are none."""
        return _ring_of(pairs) if pairs else None

    def __repr__(self) -> str:
        return f"Keyring({', '.join(name.decode() for name in self._keys)})"

    # --- messages --------------------------------------------------------------------------------

    def signed(self, stream: str, fields: Sequence[bytes | str]) -> list[bytes | str]:
        """An entry's fields with their signature, which goes before the body; for this stream alone."""
        parts = [part if isinstance(part, bytes) else part.encode() for part in fields]
        return [*fields[:-2], FIELD, self._sign(_MESSAGE, stream.encode(), parts), *fields[-2:]]

    def verify(self, stream: str, fields: Sequence[bytes]) -> None:
        """Make sure that an entry of this stream was signed, as it stands.

        Raises:
            SignatureError: it is not signed, or not like that; says which.
        """
        names = fields[::2]
        if FIELD not in names or len(fields) % 2:
            raise SignatureError(_UNSIGNED)
        at = names.index(FIELD) * 2
        self._verify(fields[at + 1], _MESSAGE, stream.encode(), [*fields[:at], *fields[at + 2 :]])

    def signed_again(self, stream: str, fields: Sequence[bytes], texts: Mapping[bytes, bytes]) -> list[bytes | str]:
        """The fields of an entry of this stream with other texts in some of them, signed anew.

        Raises:
            SignatureError: it was not signed itself.
        """
        self.verify(stream, fields)
        others = dict(zip(fields[::2], fields[1::2], strict=True))
        body = others.pop(b"body", b"")
        others.pop(FIELD)
        others |= texts
        return self.signed(stream, [*(part for pair in others.items() for part in pair), b"body", body])

    # --- what is stored with runs ----------------------------------------------------------------

    def sign_answer(self, inputs: str, field: str, question: str, answer: bytes) -> bytes:
        """The signature of what a run is resumed with.

        ``inputs`` is the key of the run's inputs and ``field`` the answer's in there; ``question`` is the ID of the
        state in which the run waited, which is part of the signature as it is of what is signed.
        """
        by = self._sign(_ANSWER, inputs.encode(), (field.encode(), question.encode(), answer))
        return b"%s:%s" % (question.encode(), by)

    def verify_answer(
        self, signature: bytes | None, inputs: str, field: str, answer: bytes, *, question: str | None = None
    ) -> None:
        """Make sure that an answer was given to this run; to this very question, where that is known.

        Raises:
            SignatureError: it was not.
        """
        asked, _, by = (signature or b"").partition(b":")
        self._verify(by or None, _ANSWER, inputs.encode(), (field.encode(), asked, answer))
        if question is not None and asked != question.encode():
            raise SignatureError("It is the answer to another question, which was asked under the same key before.")

    def sign_request(self, record: str, deployment: str, parameters: bytes) -> bytes:
        """The signature of a run that a deployment is asked for; ``record`` is the key of the run's record."""
        return self._sign(_REQUEST, record.encode(), (deployment.encode(), parameters))

    def verify_request(self, signature: bytes | None, record: str, deployment: str, parameters: bytes) -> None:
        """Make sure that this run was asked for, of this deployment and with these parameters.

        Raises:
            SignatureError: it was not.
        """
        self._verify(signature, _REQUEST, record.encode(), (deployment.encode(), parameters))

    def sign_result(self, record: str, result: bytes) -> bytes:
        """The signature of what a run returned, nothing where that cannot be kept; ``record`` is the key of its record."""
        return self._sign(_RESULT, record.encode(), (result,))

    def verify_result(self, signature: bytes | None, record: str, result: bytes) -> None:
        """Make sure that this run has completed, and returned this.

        Raises:
            SignatureError: it was not said by who has a key.
        """
        self._verify(signature, _RESULT, record.encode(), (result,))

    def sign_deployment(self, key: str, parameters: bytes) -> bytes:
        """The signature of the parameters that a deployment's runs are given; ``key`` is the deployment's."""
        return self._sign(_DEPLOYMENT, key.encode(), (parameters,))

    def verify_deployment(self, signature: bytes | None, key: str, parameters: bytes) -> None:
        """Make sure that a deployment was served with these parameters.

        Raises:
            SignatureError: it was not.
        """
        self._verify(signature, _DEPLOYMENT, key.encode(), (parameters,))

    # --- by which --------------------------------------------------------------------------------

    def _sign(self, purpose: bytes, place: bytes, parts: Iterable[bytes]) -> bytes:
        return b"%s:%s" % (self._first, self._digest(self._first, purpose, place, parts))

    def _verify(self, signature: bytes | None, purpose: bytes, place: bytes, parts: Iterable[bytes]) -> None:
        if signature is None:
            raise SignatureError(_UNSIGNED)
        name, _, digest = signature.partition(b":")
        if name not in self._keys:
            # The name is the sender's word: shown only where it can be one.
            which = f"{name.decode()!r}, which is none of FLOWCHAN_SIGNING_KEYS" if _is_key_id(name) else "no name"
            raise SignatureError(f"It is signed with a key of {which}.")
        if not hmac.compare_digest(digest, self._digest(name, purpose, place, parts)):
            raise SignatureError("Its signature is not that of what it says, here: it was forged, changed or moved.")

    def _digest(self, name: bytes, purpose: bytes, place: bytes, parts: Iterable[bytes]) -> bytes:
        all_parts = purpose, name, place, *parts
        count = len(all_parts)
        lengths = struct.pack(f">{count + 1}Q", count, *map(len, all_parts))
        return hmac.digest(self._keys[name], lengths + b"".join(all_parts), "sha256").hex().encode()


_ring_of = functools.lru_cache(maxsize=64)(Keyring)
