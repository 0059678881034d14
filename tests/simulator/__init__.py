"""A synthetic MSP that knows the truth: what it delivers, agreed, billed, and which errors were planted.

The services never import this; it speaks HTTP and files like any vendor or PSA.
"""
