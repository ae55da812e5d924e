"""The whole system on one machine: embedded or given servers, and every process of ours over them."""

from throughline.local.stack import LocalStack, StackPlan

__all__ = ["LocalStack", "StackPlan"]
