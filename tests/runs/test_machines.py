"""Runs of several machines: which one this is, and what they agree on."""

import socket
from concurrent.futures import ThreadPoolExecutor

import pytest

from unfold.errors import ConfigError, RunError
from unfold.runs import machines
from unfold.runs.machines import Machines, Meeting, first_host, machines_of

TOLD = {"NODE_RANK": "1", "MASTER_ADDR": "first", "MASTER_PORT": "29500"}
SLURM = {"SLURM_NODEID": "2", "SLURM_JOB_NODELIST": "gpu[017-020]", "SLURM_JOB_ID": "1234567"}


def test_the_environment_says_which_machine_this_is():
    assert machines_of(1, TOLD) is None
    assert machines_of(2, TOLD) == Machines(1, 2, "first", 29500)
    assert machines_of(4, SLURM) == Machines(2, 4, "gpu017", 15000 + 2 * 4567)
    assert machines_of(2, SLURM | TOLD) == Machines(1, 2, "first", 29500), "what is said, counts"
    found = machines_of(2, TOLD)
    assert found is not None and found.variables() == TOLD


@pytest.mark.parametrize(
    ("environment", "message"),
    [
        ({}, "which machine is this.*NODE_RANK=0, 1"),
        ({"NODE_RANK": "0"}, "which machine is this"),
        (TOLD | {"NODE_RANK": "2"}, "nodes = 2: this machine is number 2, counted from 0"),
        (TOLD | {"NODE_RANK": "one"}, "NODE_RANK = one: a number"),
        (TOLD | {"MASTER_PORT": "65535"}, "MASTER_PORT = 65535: must be from 1 to 65534"),
    ],
)
def test_an_environment_that_does_not_say_is_refused(environment, message):
    with pytest.raises(ConfigError, match=message):
        machines_of(2, environment)


@pytest.mark.parametrize(
    ("names", "first"),
    [
        ("cpu3", "cpu3"),
        ("cpu3,cpu4", "cpu3"),
        ("gpu[017-020,22],cpu3", "gpu017"),
        ("gpu[7,9]-ib", "gpu7-ib"),
        ("rack-a-[01-02]", "rack-a-01"),
    ],
)
def test_the_first_host_of_a_list(names, first):
    assert first_host(names) == first


@pytest.fixture
def places():
    """Three machines, which are threads."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    return [Machines(i, 3, "127.0.0.1", port - 1) for i in range(3)]


def together(places, act):
    """What every machine gets out of a meeting, or its error."""

    def run(place):
        try:
            return act(place.index, Meeting(place))
        except RunError as error:
            return str(error)

    with ThreadPoolExecutor(len(places)) as pool:
        return list(pool.map(run, places))


def test_the_machines_hear_what_the_first_one_does(places):
    for plan in ("resume", "finished"):  # the port is free again
        said = {"plan": plan, "checkpoint": "checkpoints/last.ckpt"}

        def act(index, meeting, said=said):
            return meeting.hear("g1") if index else meeting.tell("g1", said)

        assert together(places, act) == [None, said, said]


def test_machines_with_other_runs_in_mind_all_stop(places):
    def act(index, meeting):
        if index:
            return meeting.hear("g1" if index == 1 else "g2")
        try:
            return meeting.tell("g1", {})
        except RunError as error:
            meeting.refuse(error)
            raise

    found = together(places, act)
    assert all("machine 0: g1, machine 2: g2. Start the same command" in text for text in found)


def test_a_refusal_of_the_first_reaches_the_others_once(places):
    def act(index, meeting):
        if index:
            return meeting.hear("g1")
        meeting.refuse(RunError("the lock is held."))
        meeting.refuse(RunError("told already."))
        return None

    expected = "the first machine refuses: the lock is held."
    assert together(places, act) == [None, expected, expected]


def test_a_machine_that_never_comes_is_not_waited_for_without_end(places, monkeypatch):
    monkeypatch.setattr(machines, "PATIENCE", 1.0)
    with pytest.raises(RunError, match=r"machine 1 of 3 does not reach the first one at 127"):
        Meeting(places[1])
    first = Meeting(places[0])
    with pytest.raises(RunError, match="a machine does not answer"):
        first.tell("g1", {})
    first.refuse(RunError("told nobody"))
    Meeting(places[0]).refuse(RunError("heard by nobody"))
