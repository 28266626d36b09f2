"""torch.compile for functions that meet several shapes."""

from __future__ import annotations

from collections.abc import Callable
from functools import wraps
from typing import Any, ParamSpec, TypeVar

import torch

P = ParamSpec("P")
R = TypeVar("R")


def compiled(function: Callable[P, R], limit: int, **options: Any) -> Callable[P, R]:
    """A function compiled whole, for up to `limit` kinds of arguments.

    Dynamo's own limit is 8 a function, beyond which it computes eagerly without a word. A whole graph raises instead;
    the limit is raised for this function's calls alone.

    Args:
        function: A function of its own: the limit counts by code.
        limit: Most compilations.
        **options: Of `torch.compile`.
    """
    optimized = torch.compile(function, fullgraph=True, **options)

    @wraps(function)
    def within_limit(*args: P.args, **kwargs: P.kwargs) -> R:
        config: Any = torch._dynamo.config
        with config.patch(
            recompile_limit=max(config.recompile_limit, limit),
            accumulated_recompile_limit=max(config.accumulated_recompile_limit, limit),
        ):
            return optimized(*args, **kwargs)

    return within_limit
