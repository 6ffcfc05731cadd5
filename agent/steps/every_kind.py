"""The kinds of steps that an agent has: those in the modules of this package."""

from __future__ import annotations

import importlib
import pkgutil

from agent.model.step_kind import Kinds


def every_kind() -> Kinds:
    """The kinds in the `KINDS` of each module of this package: a new kind is a new file, and is named nowhere else."""
    package = importlib.import_module(__name__.rpartition(".")[0])
    modules = (importlib.import_module(f"{package.__name__}.{m.name}") for m in pkgutil.iter_modules(package.__path__))
    return Kinds(kind for module in modules for kind in getattr(module, "KINDS", ()))
