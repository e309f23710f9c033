"""Engines that translate, and a fair measurement of their speed."""
