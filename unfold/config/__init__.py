"""Configuration: composing it, checking it before anything is built, and building from it.

Hydra and OmegaConf stop here: what leaves `compose` is plain Python data.
"""
