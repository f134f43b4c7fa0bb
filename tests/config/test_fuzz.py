"""Whatever is typed, the answer is a configuration or one of our errors."""

import os

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from tests.config.folder import checked
from unfold.errors import ConfigError

KEYS = st.sampled_from(
    [
        *("algo", "prior", "model", "seed", "name", "trust", "trainable", "runs_dir", "experiment"),
        *("optimizer.lr", "algo.stepsize", "trainable.learn", "trainable.constrain"),
        *("trainer.devices", "prior.denoiser", "prior.denoiser.depth", "model.backward"),
        *("+algo.x", "++seed", "~algo", "~algo.stepsize", "+q", "prior@algo", "algo._target_"),
        *("hydra/launcher", "hydra.mode", "hydra.sweeper.params"),
    ]
)
VALUES = st.one_of(
    st.sampled_from(
        [
            *("pgd", "admm", "null", "true", "-1", "1e400", "nan", "1.5", "0x10", "1_000"),
            *("[]", "{}", "[1,2]", "{a:1}", "''", "'a b'", '"q"', "\\,", "a,b", "[algo.*]"),
            *("???", "${x}", "${oc.env:HOME}", "${algo}", "${hydra:job}", "range(3)", "glob(*)"),
            *("os.system", "unfold.fidelities.l2.L2", "{_target_:os.system}"),
        ]
    ),
    st.text(max_size=8),
    st.integers().map(str),
    st.floats().map(str),
)
WORDS = st.one_of(
    st.tuples(KEYS, VALUES).map("=".join), st.text(max_size=10), st.sampled_from(["-m", "-x", "="])
)


@settings(
    max_examples=int(os.environ.get("UNFOLD_FUZZ", "25")),
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(st.lists(WORDS, max_size=3))
def test_nothing_but_our_errors(arguments):
    try:
        checked(*arguments)
    except ConfigError as error:
        assert str(error).strip()
