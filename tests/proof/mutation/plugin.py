"""A pytest plugin that runs tests over a mutant: `MUTANT="its name" pytest -p tests.proof.mutation.plugin`.

The function is changed while its module is imported, so nothing is written and nothing is copied. An empty name
changes nothing.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder, SourceFileLoader
from types import CodeType, ModuleType

from hypothesis import settings

from tests.proof.mutants import MUTANTS
from tests.proof.mutation.mutant import Mutant


class _Loader(SourceFileLoader):
    """Compiles the changed source. Reads and writes no bytecode."""

    def __init__(self, fullname: str, path: str, mutant: Mutant) -> None:
        super().__init__(fullname, path)
        self._mutant = mutant

    def get_code(self, fullname: str) -> CodeType:
        path = self.get_filename(fullname)
        code: CodeType = compile(self._mutant.mutated(self.get_data(path)), path, "exec", dont_inherit=True)
        return code


class _Finder(MetaPathFinder):
    """Finds the module of a mutant."""

    def __init__(self, mutant: Mutant) -> None:
        self._mutant = mutant

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        if fullname != self._mutant.module:
            return None
        spec = PathFinder.find_spec(fullname, path, target)
        assert spec is not None
        assert spec.origin is not None
        spec.loader = _Loader(fullname, spec.origin, self._mutant)
        return spec


def _install(name: str) -> None:
    """Change the function of the mutant once its module is imported."""
    mutant = next(each for each in MUTANTS if each.name == name)
    if mutant.module in sys.modules:
        raise RuntimeError(f"{mutant.module} was imported before it could be changed")
    sys.meta_path.insert(0, _Finder(mutant))


# Neither keep the examples that a mutant fails, nor leave it to chance whether it fails.
settings.register_profile("mutation", database=None, derandomize=True, deadline=None)
settings.load_profile("mutation")
if os.environ["MUTANT"]:
    _install(os.environ["MUTANT"])
