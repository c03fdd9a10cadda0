"""Hooks that a model registers on its modules within its forward, and whether they change what these take or return.

Libraries register hooks that only collect outputs; a test of the module without them is the same.
"""

from __future__ import annotations

from typing import Any

from torch import nn

from ttprof.plan import tree
from ttprof.plan.at_rest import BACKWARD_HOOKS, HOOKS, AtRest

ModuleCall = tuple[nn.Module, int]
"""A module, and the number of one of its calls."""


class HookWatch:
    """Notes which of the hooks that modules did not have *at rest* return something."""

    def __init__(self, at_rest: AtRest) -> None:
        self._at_rest = at_rest
        self._calls: list[tuple[ModuleCall, list[_Watched]]] = []

    def at_call(self, call: ModuleCall, module: nn.Module) -> bool:
        """Watch the new hooks of *module* and its parts as a *call* of it starts.

        Returns whether it has hooks that can't be watched: new pre-hooks of its own, which torch runs right after this,
        or for the backward; or lacks some that it had.
        """
        new = {part: self._new_hooks(part) for part in module.modules()}
        watched = [_watch(hooks, number) for found in new.values() for hooks, number in found]
        if watched:
            self._calls.append((call, watched))
        if any(hooks is vars(module).get("_forward_pre_hooks") for hooks, _ in new[module]):
            return True
        return any(self._has_others(part) for part in new)

    def _has_others(self, part: nn.Module) -> bool:
        """Whether *part* lacks a hook that it had at rest, or has a new one for the backward."""
        before = self._at_rest.hooks.get(part)
        if before is None:
            return False
        now = [hook for name in (*HOOKS, *BACKWARD_HOOKS) for hook in vars(part).get(name, {}).values()]
        replaced = [hook.hook if isinstance(hook, _Watched) else hook for hook in now]
        backward = [hook for name in BACKWARD_HOOKS for hook in vars(part).get(name, {}).values()]
        return any(not _is_in(hook, replaced) for hook in before) or any(not _is_in(hook, before) for hook in backward)

    def _new_hooks(self, part: nn.Module) -> list[tuple[dict[int, Any], int]]:
        before = self._at_rest.hooks.get(part)
        if before is None:
            return []
        dicts = [vars(part)[name] for name in HOOKS if name in vars(part)]
        return [(hooks, number) for hooks in dicts for number, hook in hooks.items() if not _is_in(hook, before)]

    def changed_calls(self) -> set[ModuleCall]:
        """The calls in which such a hook has changed what a module takes or returns."""
        return {call for call, watched in self._calls if any(hook.changed for hook in watched)}


class _Watched:
    """A hook that notes whether it returned something, or wrote to what it was given."""

    def __init__(self, hook: Any) -> None:
        self.hook = hook
        self.changed = False

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        tensors = [tensor for tensor in tree.tensors((args[1:], kwargs)) if not tensor.is_inference()]
        versions = [tensor._version for tensor in tensors]
        result = self.hook(*args, **kwargs)
        self.changed |= result is not None or versions != [tensor._version for tensor in tensors]
        return result


def _watch(hooks: dict[int, Any], number: int) -> _Watched:
    hook = hooks[number]
    if not isinstance(hook, _Watched):
        hook = hooks[number] = _Watched(hook)
    return hook


def _is_in(hook: Any, hooks: list[Any]) -> bool:
    return any(hook is other for other in hooks)
