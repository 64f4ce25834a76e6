"""Finite worlds: float64 tables in which every statement of the book is arithmetic."""

from unigen_edu.exact.checks import agree, differ, gradient, jacobian
from unigen_edu.exact.gan import GANWorld
from unigen_edu.exact.importance import ImportanceWorld
from unigen_edu.exact.vae import VAEWorld

__all__ = ["GANWorld", "ImportanceWorld", "VAEWorld", "agree", "differ", "gradient", "jacobian"]
