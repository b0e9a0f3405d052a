"""Drafts of a correction, taken from the answer that it corrects. For engines that let one propose tokens."""

from pathlib import Path

FOLDER = Path(__file__).parent  # on PYTHONPATH, where an engine's own Python is to find the proposer, and nothing else
PROPOSER = "answer_proposer.AnswerProposer"
