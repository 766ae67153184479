"""Headway: a model registry that ships models by proof."""
