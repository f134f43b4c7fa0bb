"""The way of a training through its steps and images, over all its starts."""

from collections import Counter
from typing import NamedTuple

from tests.faults.forked import Step


class Start(NamedTuple):
    """One start of a training.

    first: the step of the state that it resumes from, 0 where it begins.
    steps: what it took.
    """

    first: int
    steps: list[Step]


class History(NamedTuple):
    """All starts of one training, in their order."""

    starts: list[Start]

    @property
    def kept(self) -> list[Step]:
        """The steps that count: those that no later start had to take again."""
        kept: list[Step] = []
        for start in self.starts:
            kept = [step for step in kept if step.step < start.first] + start.steps
        return kept

    def lost(self, steps: int) -> int:
        """The steps that were never taken."""
        return len(set(range(steps)) - {step.step for step in self.kept})

    @property
    def repeated(self) -> int:
        """The steps that count twice, and those that a start took before those it resumes from."""
        kept = [step.step for step in self.kept]
        early = sum(step.step < start.first for start in self.starts for step in start.steps)
        return len(kept) - len(set(kept)) + early

    def samples_not_once(self, count: int) -> int:
        """The samples that an epoch had twice, and those that a whole epoch had not at all."""
        wrong, last = 0, max((step.epoch for step in self.kept), default=0)
        for epoch in range(last + 1):
            seen = Counter(n for step in self.kept if step.epoch == epoch for n in step.samples)
            wrong += sum(times - 1 for times in seen.values())
            wrong += count - len(seen) if epoch < last else 0
        return wrong

    @property
    def faults(self) -> list[str]:
        """Where a start does not continue, step by step, from its state, or sees other images."""
        found, seen = [], dict[int, Step]()
        for start in self.starts:
            for place, step in enumerate(start.steps, start.first):
                if step.step != place:
                    found.append(f"step {step.step} where {place} was due")
                if seen.setdefault(step.step, step) != step:
                    found.append(f"other images in step {step.step}")
        return found
