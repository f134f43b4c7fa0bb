"""Everything that is learned gets a gradient, or its name is said."""

import pytest
import torch
from torch import nn

from unfold.errors import ConfigError
from unfold.training.parameter_groups import DeadParameterWarning, check_first_gradient


class Two(nn.Module):
    def __init__(self):
        super().__init__()
        self.raw_used = nn.Parameter(torch.ones(()))
        self.raw_idle = nn.Parameter(torch.ones(()))


def test_a_parameter_without_gradient_is_an_error_with_its_public_name():
    module = nn.ModuleDict({"algo": Two()})
    module["algo"].raw_used.square().backward()
    with pytest.raises(ConfigError, match=r"no gradient reaches algo\.idle"):
        check_first_gradient(module)


def test_a_gradient_of_exactly_zero_is_a_warning():
    module = nn.ModuleDict({"algo": Two()})
    (module["algo"].raw_used.square() + 0 * module["algo"].raw_idle).backward()
    with pytest.warns(DeadParameterWarning, match=r"algo\.idle is exactly zero"):
        check_first_gradient(module)
