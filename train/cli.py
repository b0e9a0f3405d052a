"""`metaaligner train prepare | answers | sft | export | evaluate | judge | blind`. Needs the extra `train`."""

import click

from train.commands import data, judging, training


@click.group()
def train() -> None:
    """Train a corrector of your own."""


for command in (
    data.prepare, data.answers, training.sft, training.export, judging.evaluate, judging.judge, judging.blind,
):  # fmt: skip
    train.add_command(command)
