"""`python -m stpr.train` is `stpr-train`; `accelerate launch -m stpr.train` starts it in several processes."""

from __future__ import annotations

from stpr.train.cli import main

if __name__ == "__main__":
    main(prog_name="stpr-train")
