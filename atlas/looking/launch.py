"""The network's process that can also look inside a picture: `python -m atlas.looking.launch PIPELINE ATLAS`."""

from __future__ import annotations

from atlas.workshop.launch import main

if __name__ == "__main__":
    main("atlas.looking.answering")
