"""Deliberate faults in the code that keeps the books. Each must fail the suite: tests/proof/test_mutants.py checks it.

A mutant names the function that it changes, and the change. To add one, write it in the file of its subject.
"""

from __future__ import annotations

from tests.proof.mutants import commits, entries, lanes, periods, pricing, routing, stored_rows
from tests.proof.mutation.mutant import Mutant

MUTANTS: list[Mutant] = [
    *entries.MUTANTS,
    *commits.MUTANTS,
    *lanes.MUTANTS,
    *periods.MUTANTS,
    *pricing.MUTANTS,
    *routing.MUTANTS,
    *stored_rows.MUTANTS,
]
