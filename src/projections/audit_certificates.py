"""Certificates in an audit: do the events give the rows that they certify?"""

from projections import tables
from projections.audit_snapshot import Snapshot
from projections.certificate import Certificate, Digest
from projections.findings import Kind
from projections.log import signing_keys
from projections.log.notes import BadNote
from projections.rows import HistoryRow


class Certified:
    """Certificates that were signed by known keys, while the rows that the events give come by.

    Give all rows to `add`, by booking and version, and call `end`.
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self._findings = snapshot.findings
        self._held: list[tuple[str, Certificate, Digest]] = []
        self._erased_since: set[str] = set()
        self._lost: set[str] = set()
        known = snapshot.outside.known or signing_keys.verifiers(snapshot.connection)
        for name, certificate in snapshot.outside.certificates:
            try:
                certificate.verify(known)
            except BadNote as error:
                self._findings.add("bad_signature", f"{name}: {error}")
                continue
            if certificate.version != tables.VERSION:
                detail = f"it is of version {certificate.version} of the read model, whose rows"
                detail += f" were others; {tables.VERSION} is what events are compared with here"
                self._add(name, certificate, detail, "other_certificate_version")
            else:
                self._held.append((name, certificate, Digest()))

    def add(self, row: HistoryRow, erasures: list[int]) -> None:
        """`erasures` are the positions of all erasures of the row's booking."""
        for name, certificate, digest in self._held:
            if row.position > certificate.position:
                continue
            digest.add(row)
            if row.erased and not any(
                row.position < position <= certificate.position for position in erasures
            ):
                self._erased_since.add(name)

    def lose(self, position: int) -> None:
        """An event that cannot be read: what it gave is not known."""
        for name, certificate, _ in self._held:
            if position <= certificate.position:
                self._lost.add(name)

    def end(self) -> None:
        for name, certificate, digest in self._held:
            if name in self._lost:
                self._add(name, certificate, "events that it stands on cannot be read")
            elif (digest.rows, digest.lasting) != (certificate.rows, certificate.lasting):
                detail = f"it certifies {certificate.rows} other rows than the events give"
                self._add(name, certificate, f"{detail} ({digest.rows})")
            elif name not in self._erased_since and digest.personal != certificate.personal:
                self._add(name, certificate, "it certifies other personal parts than are sealed")

    def _add(
        self,
        name: str,
        certificate: Certificate,
        detail: str,
        kind: Kind = "wrong_certificate",
    ) -> None:
        self._findings.add(kind, f"{name}: {detail}", position=certificate.position)
