"""The demo: from nothing to a trained, judged and used encoder, offline, on the synthetic Earth."""

from ecotone.demo.story import Story, run_demo

__all__ = ["Story", "run_demo"]
