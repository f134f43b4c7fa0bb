"""Train and evaluate: `python train.py algo=pgd prior=dncnn`; `--help` lists what there is."""

from unfold.cli.train import main

if __name__ == "__main__":
    main()
