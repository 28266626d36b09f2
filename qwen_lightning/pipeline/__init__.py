"""The stages in order: from Base-SFT to the six adapters, each gated on the regression of the one before.

This package loads no torch: stages run as `fit` in processes of their own.
"""
