"""What the trial of kills counts, on histories that are wrong in one way each."""

from tests.faults.forked import Step
from tests.faults.ways import History, Start

EPOCH = [Step(n, n // 2, [2 * (n % 2), 2 * (n % 2) + 1]) for n in range(6)]
"""Three epochs of two steps, of two samples each."""


def counts(*starts):
    history = History([Start(first, steps) for first, steps in starts])
    return (
        history.lost(6),
        history.repeated,
        history.samples_not_once(4),
        len(history.faults),
    )


def test_a_resumed_training_counts_as_one_that_was_not():
    assert counts((0, EPOCH)) == (0, 0, 0, 0)
    assert counts((0, EPOCH[:4]), (2, EPOCH[2:5]), (5, EPOCH[5:])) == (0, 0, 0, 0)


def test_lost_and_repeated_steps_and_samples_are_counted():
    assert counts((0, EPOCH[:2]), (2, EPOCH[3:])) == (1, 0, 2, 3)
    assert counts((0, EPOCH[:2]), (2, EPOCH[1:])) == (0, 2, 2, 5)
    other = [Step(2, 1, [0, 1]), Step(3, 1, [0, 1]), *EPOCH[4:]]
    assert counts((0, EPOCH[:2]), (2, other)) == (0, 0, 4, 0)
    assert counts((0, EPOCH[:4]), (2, other))[3] == 1, "step 3 is that of before"
