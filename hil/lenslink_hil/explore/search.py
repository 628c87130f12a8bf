"""Explore everything that can happen between a host and a module, within bounds.

Run ``python -m lenslink_hil.explore.search --help`` for the bounds.

The search is breadth first. A state consists of both link machines and the packets between them.
The channels lose, damage, duplicate and reorder packets. The search expands each state once, and
closes when it finds no new state. If an invariant does not hold, it raises :exc:`Counterexample`
with the shortest sequence of actions that leads there.

When the search has closed, it checks that every state can still reach a good end without another
fault. This rules out deadlocks, credits that stay lost, and requests that are never answered.

The state itself is a :class:`.world.World`, which also checks the invariants.
:mod:`.state` saves and compares states.
"""

from __future__ import annotations

import argparse
import time
from array import array
from collections import deque
from dataclasses import dataclass, fields

from .state import compute_key, load, save
from .violation import Violation
from .world import Action, Bounds, World, shrink_machines

# Actions that are not faults.
_SOUND = frozenset({"take", "timer", "arrive"})


class Counterexample(Exception):
    """Raised if an invariant does not hold.

    Attributes:
        text: The invariant that was broken.
        actions: The actions that lead there from the first state.
    """

    def __init__(self, text: str, actions: list[Action]) -> None:
        way = ", ".join(f"{what} {lane}" for what, lane in actions[:200])
        super().__init__(f"{text}\n  after {len(actions)} steps: {way}")
        self.text = text
        self.actions = actions


@dataclass(frozen=True, slots=True)
class Result:
    """The size of an exploration."""

    states: int
    transitions: int
    depth: int
    """Actions on the shortest way to the farthest state."""
    ends: int
    """States in which everything is done."""
    given_up_ends: int
    """Ends in which the host has given up the module."""
    closed: bool
    """Every state was expanded."""
    seconds: float

    def __str__(self) -> str:
        closed = "the frontier closes" if self.closed else "NOT CLOSED"
        return (
            f"{self.states:,} states, {self.transitions:,} transitions, depth {self.depth}, "
            f"{self.ends:,} ends ({self.given_up_ends:,} given up), {closed}, {self.seconds:.1f} s"
        )


class _Search:
    """The states that were found, by number, and how they are reached."""

    def __init__(self, bounds: Bounds) -> None:
        self.bounds = bounds
        self.numbers: dict[bytes, int] = {}
        self.parents = array("i")
        self.actions: list[Action] = []
        self.depths = array("H")
        self.frontier: deque[tuple[int, bytes]] = deque()
        self.ends: list[int] = []
        self.given_up_ends = 0
        # Transitions without a fault: the state before and the state after.
        self.origins = array("i")
        self.targets = array("i")
        self.transitions = 0

    def add(self, world: World, parent: int, action: Action) -> int:
        """Return the number of a state. Queue the state if it is new."""
        name = compute_key(world)
        number = self.numbers.get(name)
        if number is not None:
            return number
        number = self.numbers[name] = len(self.numbers)
        self.parents.append(parent)
        self.actions.append(action)
        self.depths.append(self.depths[parent] + 1 if parent >= 0 else 0)
        if world.is_done:
            self.ends.append(number)
            self.given_up_ends += world.has_given_up
        self.frontier.append((number, save(world)))
        return number

    def find_path(self, number: int) -> list[Action]:
        """Return the actions that lead from the first state to this state."""
        found = []
        while number > 0:
            found.append(self.actions[number])
            number = self.parents[number]
        return found[::-1]

    def expand(self, number: int, saved: bytes) -> None:
        """Do each possible action in a copy of a state, and add the states behind them."""
        # The copy that lists the actions is unchanged, so the first action is done in it.
        first = load(saved)
        unused: World | None = first
        for action in first.list_actions():
            world, unused = unused or load(saved), None
            try:
                world.act(action)
                target = self.add(world, number, action)
            except Exception as error:
                text = str(error) if isinstance(error, Violation) else repr(error)
                raise Counterexample(text, [*self.find_path(number), action]) from error
            self.transitions += 1
            if action[0] in _SOUND:
                self.origins.append(number)
                self.targets.append(target)

    def check_ends(self) -> None:
        """Check that each state can reach an end without another fault."""
        sources: dict[int, list[int]] = {}
        for origin, target in zip(self.origins, self.targets, strict=True):
            sources.setdefault(target, []).append(origin)
        good = bytearray(len(self.numbers))
        waiting = list(self.ends)
        while waiting:
            number = waiting.pop()
            if not good[number]:
                good[number] = 1
                waiting += sources.get(number, [])
        stuck = good.find(0)
        if stuck >= 0:
            raise Counterexample("no way to a good end from here", self.find_path(stuck))


def explore(bounds: Bounds, seconds: float = float("inf")) -> Result:
    """Explore everything within *bounds*.

    Args:
        bounds: How often each fault may happen.
        seconds: Stop after this time, and return a result that is not closed.

    Raises:
        Counterexample: An invariant does not hold.
    """
    began = time.monotonic()
    search = _Search(bounds)
    with shrink_machines():
        world = World(bounds)
        search.add(world, -1, ("", 0))
        while search.frontier and time.monotonic() - began < seconds:
            search.expand(*search.frontier.popleft())
    closed = not search.frontier
    if closed:
        search.check_ends()
    return Result(
        len(search.numbers), search.transitions, max(search.depths), len(search.ends),
        search.given_up_ends, closed, time.monotonic() - began,
    )  # fmt: skip


def main() -> None:
    """Explore within the bounds of the command line, and print the result."""
    parser = argparse.ArgumentParser(
        description="Explore everything that can happen between a host and a module."
    )
    for field in fields(Bounds):
        parser.add_argument(f"--{field.name}", type=int, default=field.default)
    parser.add_argument("--seconds", type=float, default=float("inf"))
    options = vars(parser.parse_args())
    seconds = options.pop("seconds")
    bounds = Bounds(**options)
    print(bounds)
    print(explore(bounds, seconds))


if __name__ == "__main__":
    main()
