"""What processes and devices must be for a training to run on them."""

from typing import TYPE_CHECKING

from unfold.errors import ConfigError
from unfold.training.checks import refuse

if TYPE_CHECKING:
    from unfold.models.model import Model
    from unfold.priors.prior import Prior
    from unfold.training.settings import TrainerSettings


def check_processes(settings: "TrainerSettings") -> None:
    """Refuse settings that several processes cannot share, or that one has no use for.

    Raises:
        ConfigError: names the key, its value and what is allowed.
    """
    several = "nodes" if settings.nodes > 1 else "devices"
    count, shards = settings.processes, settings.shards
    if count > 1 and settings.strategy == "auto":
        raise ConfigError(
            f"{several} = {getattr(settings, several)}: several {several} need strategy=ddp. "
            "Write trainer=ddp, or trainer=ddp_cpu without GPUs."
        )
    if shards is not None and 1 < count != shards:
        raise ConfigError(
            f"shards = {shards}: several processes compute one part of a batch each, so it must "
            f"be their number, {count}, or null."
        )
    for name in ("on_nonfinite", "on_unreached"):
        if count > 1 and getattr(settings, name) == "rollback":
            raise ConfigError(
                f"{name} = rollback: one process goes back, several cannot. "
                f"Write trainer.{name}=skip."
            )
    if settings.strategy == "fsdp":
        _check_spread(settings)


def _check_spread(settings: "TrainerSettings") -> None:
    several = "2 or above with strategy=fsdp; one device takes trainer=default"
    refuse("devices", settings.processes, unless=settings.processes > 1, must=several)
    whole = "null with strategy=fsdp, where no process has all weights; write trainer=ddp"
    for name in ("ema", "images_every"):
        value = getattr(settings, name)
        refuse(name, value, unless=value is None, must=whole)
    single = "32 or bf16 with strategy=fsdp; 64 needs trainer=ddp"
    refuse("precision", settings.precision, unless=settings.precision != "64", must=single)
    cut = "false or null with strategy=fsdp, which cuts filters along their first axis"
    refuse("channels_last", settings.channels_last, unless=not settings.channels_last, must=cut)


def check_parts(settings: "TrainerSettings", model: "Model", prior: "Prior") -> None:
    """Refuse a model or a prior that the strategy cannot compute.

    Raises:
        ConfigError: with strategy=fsdp the processes gather a network each time it is called.
    """
    if settings.strategy != "fsdp":
        return
    if model.needs_contraction:
        raise ConfigError(
            "trainer.strategy = fsdp: the processes gather a network together, each time that it "
            "is called, and an equilibrium calls it as often as its images need. Write "
            "trainer=ddp, or model=unfolded."
        )
    for term in prior.terms:
        if term.differentiates_network:
            raise ConfigError(
                f"trainer.strategy = fsdp: prior {type(term).__name__} is itself a derivative of "
                "its network, whose weights are gone when it is differentiated again. Write "
                "trainer=ddp, or prior=dncnn."
            )


def check_machine(settings: "TrainerSettings") -> None:
    """Refuse devices that this machine does not have.

    Raises:
        ConfigError: there are no GPUs, or fewer.
    """
    if settings.accelerator != "gpu":
        return
    import torch

    found = torch.cuda.device_count() or int(torch.backends.mps.is_available())
    if found == 0:
        replicas = settings.processes > 1 and settings.strategy != "fsdp"
        instead = "trainer=ddp_cpu" if replicas else "trainer.accelerator=cpu"
        raise ConfigError(
            "trainer.accelerator = gpu: PyTorch finds no GPU on this machine. Write "
            f"{instead}, or start it where there is one, as hydra/launcher=slurm does."
        )
    if found < settings.devices:
        raise ConfigError(
            f"trainer.devices = {settings.devices}: PyTorch finds {found} on this machine. Write "
            f"trainer.devices={found}, or trainer.nodes for several machines."
        )
