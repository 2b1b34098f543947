"""The ledger's pure core: ``apply(book, command, offset, at, proof)`` decides, folds and answers one command.

``decide`` (state, command → facts), ``evolve`` (state, fact → state) and ``answers`` (facts → replies) are its parts.
The shell in ``services/backplane/ledger`` and the replay use only these exports.
"""

from agents_sdk.core.identity import Proof
from agents_sdk.core.ledger import identity, rights
from agents_sdk.core.ledger.evolve import evolve
from agents_sdk.core.ledger.issued import issued
from agents_sdk.core.ledger.state import Limits, PartitionState, state_hash
from agents_sdk.core.ledger.step import INTERNAL_ERROR, Check, Failure, Step, apply, of_no_command, undecodable

__all__ = [
    "INTERNAL_ERROR",
    "Check",
    "Failure",
    "Limits",
    "PartitionState",
    "Proof",
    "Step",
    "apply",
    "evolve",
    "identity",
    "issued",
    "of_no_command",
    "rights",
    "state_hash",
    "undecodable",
]
